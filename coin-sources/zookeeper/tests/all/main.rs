//! The source against real ZooKeeper servers. Needs the Debian package `zookeeper`.

mod access;
mod ensemble;
mod names;
mod outages;
mod registration;
mod restarts;
mod server_id;
mod values;
mod world;
