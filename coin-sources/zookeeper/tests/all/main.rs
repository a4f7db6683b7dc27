//! The source against real ZooKeeper servers. Needs the Debian package `zookeeper`.

#[cfg(test)]
mod access;
#[cfg(test)]
mod ensemble;
#[cfg(test)]
mod names;
#[cfg(test)]
mod outages;
#[cfg(test)]
mod registration;
#[cfg(test)]
mod restarts;
#[cfg(test)]
mod server_id;
#[cfg(test)]
mod values;
#[cfg(test)]
mod world;
