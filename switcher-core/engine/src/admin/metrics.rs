//! `/metrics`: the shards' counters, summed at scrape, in the `OpenMetrics` text format.
//!
//! Labels are pools, coins, faults and rungs; never a worker or an address.

use std::fmt;
use std::sync::Arc;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric, text};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;
use switcher_plugin::{FaultKind, Rung};

use super::AdminContext;
use crate::counters::{PoolCounters, ShardCounters};
use crate::plugins::PluginHealth;
use crate::upgrades::UpgradeResult;

/// The text of one scrape.
pub(super) fn text(context: &AdminContext) -> Result<String, fmt::Error> {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(Scrape(context.clone())));
    let mut text = String::new();
    text::encode(&mut text, &registry)?;
    Ok(text)
}

#[derive(Debug)]
struct Scrape(AdminContext);

impl Collector for Scrape {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let shards = self.0.shards.all_counters();
        self.gauges(&mut encoder, &shards)?;
        plain(&mut encoder, &shards)?;
        self.of_pools(&mut encoder, &shards)?;
        self.of_upgrades(&mut encoder)?;
        self.of_plugins(&mut encoder)?;
        faults(&mut encoder, &shards)
    }
}

impl Scrape {
    fn gauges(
        &self,
        encoder: &mut DescriptorEncoder<'_>,
        shards: &[Arc<ShardCounters>],
    ) -> fmt::Result {
        let budget = &self.0.budget;
        let accounts = self.0.board.live_accounts();
        let notes = self.0.memory.len();
        for (name, help, value) in [
            ("switcher_sessions", "Live sessions", budget.sessions()),
            ("switcher_sessions_most", "Sessions that fit", budget.most_sessions()),
            ("switcher_sub_accounts", "Sub-accounts with live sessions", accounts),
            ("switcher_shards", "Shards", shards.len()),
            ("switcher_notes", "Notes about miners that were sent back and are expected", notes),
        ] {
            gauge(encoder, name, help, value as u64)?;
        }
        let mut health = encoder.encode_descriptor(
            "switcher_source_healthy",
            "Whether a coin source can do its work",
            None,
            MetricType::Gauge,
        )?;
        for source in self.0.board.health() {
            let labels = [("source", source.name.as_str())];
            ConstGauge::new(i64::from(source.healthy)).encode(health.encode_family(&labels)?)?;
        }
        Ok(())
    }

    fn of_upgrades(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let book = self.0.upgrades.book();
        let pause = book.last.as_ref().map_or(0, |last| last.pause_ms);
        for (name, help, value) in [
            ("switcher_generation", "Times the program was replaced", book.generation),
            ("switcher_upgrade_pause_ms", "How long the last upgrade held sessions up", pause),
        ] {
            gauge(encoder, name, help, value)?;
        }
        let mut family = encoder.encode_descriptor(
            "switcher_upgrades",
            "Attempts to replace the program, by result",
            None,
            MetricType::Counter,
        )?;
        for result in UpgradeResult::ALL {
            let value = book.results.get(&result).copied().unwrap_or(0);
            let labels = [("result", result.label())];
            ConstCounter::new(value).encode(family.encode_family(&labels)?)?;
        }
        Ok(())
    }

    fn of_plugins(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        type Value = fn(&PluginHealth) -> u64;
        let plugins = self.0.plugins.read();
        let watched = || plugins.iter().filter_map(|it| Some((&it.plugin, it.health.as_ref()?)));
        let counters: [(&str, &str, Value); 4] = [
            ("switcher_plugin_faults", "Failures of a plug-in", |health| health.faults),
            ("switcher_plugin_slow_calls", "Calls over 50 ms", |health| health.slow_calls),
            ("switcher_plugin_refused_sessions", "Miners turned away in quarantine", |health| {
                health.refused_sessions
            }),
            ("switcher_plugin_late_posts", "Facts posted after the stop", |health| {
                health.late_posts
            }),
        ];
        for (name, help, value) in counters {
            let mut family = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
            for (plugin, health) in watched() {
                let labels = [("plugin", plugin.as_str())];
                ConstCounter::new(value(health)).encode(family.encode_family(&labels)?)?;
            }
        }
        let gauges: [(&str, &str, Value); 2] = [
            ("switcher_plugin_hanging_calls", "Calls that do not come back", |health| {
                health.hanging_calls
            }),
            ("switcher_plugin_quarantined", "Whether it takes no new miners", |health| {
                u64::from(health.quarantine.is_some())
            }),
        ];
        for (name, help, value) in gauges {
            let mut family = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
            for (plugin, health) in watched() {
                let labels = [("plugin", plugin.as_str())];
                let value = i64::try_from(value(health)).unwrap_or(i64::MAX);
                ConstGauge::new(value).encode(family.encode_family(&labels)?)?;
            }
        }
        Ok(())
    }

    fn of_pools(
        &self,
        encoder: &mut DescriptorEncoder<'_>,
        shards: &[Arc<ShardCounters>],
    ) -> fmt::Result {
        let names: Vec<&'static str> =
            PoolCounters::default().each().iter().map(|(name, _)| *name).collect();
        for (which, name) in names.into_iter().enumerate() {
            let name = format!("switcher_pool_{name}");
            let mut family = encoder.encode_descriptor(
                &name,
                "Per pool, see docs/metrics.md",
                None,
                MetricType::Counter,
            )?;
            for (at, pool) in self.0.plan.pools.iter().enumerate() {
                let value: u64 = shards
                    .iter()
                    .filter_map(|shard| shard.pools.get(at))
                    .filter_map(|pool| Some(pool.each().get(which)?.1.value()))
                    .sum();
                let labels = [("coin", pool.coin.as_str()), ("pool", pool.name.as_str())];
                ConstCounter::new(value).encode(family.encode_family(&labels)?)?;
            }
        }
        for (name, help, of) in [
            ("switcher_pool_sessions", "Sessions served by a pool", true),
            ("switcher_pool_legs", "Legs that are up", false),
        ] {
            let mut family = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
            for (at, pool) in self.0.plan.pools.iter().enumerate() {
                let value: u64 = shards
                    .iter()
                    .filter_map(|shard| shard.pools.get(at))
                    .map(|pool| if of { pool.active.value() } else { pool.legs.value() })
                    .sum();
                let labels = [("coin", pool.coin.as_str()), ("pool", pool.name.as_str())];
                let value = i64::try_from(value).unwrap_or(i64::MAX);
                ConstGauge::new(value).encode(family.encode_family(&labels)?)?;
            }
        }
        Ok(())
    }
}

fn gauge(encoder: &mut DescriptorEncoder<'_>, name: &str, help: &str, value: u64) -> fmt::Result {
    let metric = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
    ConstGauge::new(i64::try_from(value).unwrap_or(i64::MAX)).encode(metric)
}

fn plain(encoder: &mut DescriptorEncoder<'_>, shards: &[Arc<ShardCounters>]) -> fmt::Result {
    let Some(first) = shards.first() else { return Ok(()) };
    for (which, (name, _)) in first.plain().iter().enumerate() {
        let value: u64 =
            shards.iter().filter_map(|shard| Some(shard.plain().get(which)?.1.value())).sum();
        let name = format!("switcher_{name}");
        let metric =
            encoder.encode_descriptor(&name, "See docs/metrics.md", None, MetricType::Counter)?;
        ConstCounter::new(value).encode(metric)?;
    }
    Ok(())
}

fn faults(encoder: &mut DescriptorEncoder<'_>, shards: &[Arc<ShardCounters>]) -> fmt::Result {
    let mut family = encoder.encode_descriptor(
        "switcher_faults",
        "Frames and sessions disregarded or ended, by whose fault and which",
        None,
        MetricType::Counter,
    )?;
    for (at, kind) in FaultKind::ALL.iter().enumerate() {
        for by_miner in [true, false] {
            let of = |shard: &Arc<ShardCounters>| {
                let faults = if by_miner { &shard.miner_faults } else { &shard.pool_faults };
                faults.get(at).map(crate::counters::Counter::value)
            };
            let value: u64 = shards.iter().filter_map(of).sum();
            let by = if by_miner { "miner" } else { "pool" };
            let labels = [("by", by), ("kind", kind.label())];
            ConstCounter::new(value).encode(family.encode_family(&labels)?)?;
        }
    }
    let mut family = encoder.encode_descriptor(
        "switcher_cut_overs",
        "Legs that began to serve a miner, by rung",
        None,
        MetricType::Counter,
    )?;
    for (at, rung) in Rung::ALL.iter().enumerate() {
        let value: u64 = shards.iter().filter_map(|shard| Some(shard.rungs.get(at)?.value())).sum();
        ConstCounter::new(value).encode(family.encode_family(&[("rung", rung.label())])?)?;
    }
    Ok(())
}
