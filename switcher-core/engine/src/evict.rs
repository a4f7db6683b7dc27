//! Finding miners that are gone without a word, when their descriptors are needed.
//!
//! The kernel knows who acknowledges nothing: a socket whose output has been retransmitted again
//! and again. `/proc/net/tcp` says so without a system call per session. It is read only while the
//! budget is used up, once a second at most.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// Retransmissions in a row after which a miner counts as gone if its place is wanted: with Linux's
/// first timeout of 200 ms and doubling, at least 1.4 s without an acknowledgement.
const RETRANSMITS: u32 = 3;

/// Sessions evicted at a time.
const MOST: usize = 256;

/// Peers of our listening `ports` that have acknowledged nothing for the longest time.
pub(crate) fn dead_peers(ports: &[u16]) -> Vec<SocketAddr> {
    let mut found = Vec::new();
    for table in ["/proc/net/tcp", "/proc/net/tcp6"] {
        // Without procfs nobody is evicted, and the user timeout finds them later.
        let text = std::fs::read_to_string(table).unwrap_or_default();
        found.extend(text.lines().skip(1).filter_map(|line| parse(line, ports)));
    }
    found.sort_unstable_by_key(|(retransmits, _)| std::cmp::Reverse(*retransmits));
    found.truncate(MOST);
    found.into_iter().map(|(_, peer)| peer).collect()
}

/// Retransmissions and peer of one row, if it is a miner of ours that acknowledges nothing.
fn parse(line: &str, ports: &[u16]) -> Option<(u32, SocketAddr)> {
    let mut fields = line.split_ascii_whitespace().skip(1);
    let local = address(fields.next()?)?;
    let peer = address(fields.next()?)?;
    let state = fields.next()?;
    let queued = fields.next()?.split_once(':')?.0;
    let retransmits = u32::from_str_radix(fields.nth(1)?, 16).ok()?;
    let is_meant = state == "01"
        && ports.contains(&local.port())
        && u32::from_str_radix(queued, 16).ok()? > 0
        && retransmits >= RETRANSMITS;
    is_meant.then_some((retransmits, peer))
}

/// An address as the kernel prints it: words of the address in host order, then the port.
fn address(text: &str) -> Option<SocketAddr> {
    let (ip, port) = text.split_once(':')?;
    let port = u16::from_str_radix(port, 16).ok()?;
    let word = |at: usize| u32::from_str_radix(ip.get(at * 8..at * 8 + 8)?, 16).ok();
    let ip = match ip.len() {
        8 => IpAddr::V4(Ipv4Addr::from(word(0)?.to_ne_bytes())),
        32 => {
            let mut bytes = [0; 16];
            for (at, chunk) in bytes.chunks_exact_mut(4).enumerate() {
                chunk.copy_from_slice(&word(at)?.to_ne_bytes());
            }
            let ip = Ipv6Addr::from(bytes);
            ip.to_ipv4_mapped().map_or(IpAddr::V6(ip), IpAddr::V4)
        }
        _ => return None,
    };
    Some(SocketAddr::new(ip, port))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_established_miners_that_acknowledge_nothing_are_found() {
        let row = |state: &str, queued: &str, retransmits: &str| {
            format!(
                "   1: 0100007F:0D05 0200007F:C350 {state} {queued}:00000000 01:00000014 \
                 {retransmits}     0        0 1234 2 0000000000000000"
            )
        };
        let dead = row("01", "00000123", "00000004");
        let peer: SocketAddr = "127.0.0.2:50000".parse().unwrap();

        assert_eq!(parse(&dead, &[3333]), Some((4, peer)));
        assert_eq!(parse(&dead, &[3334]), None);
        assert_eq!(parse(&row("01", "00000123", "00000002"), &[3333]), None);
        assert_eq!(parse(&row("01", "00000000", "00000004"), &[3333]), None);
        assert_eq!(parse(&row("06", "00000123", "00000004"), &[3333]), None);
    }

    #[test]
    fn a_mapped_address_is_the_ipv4_one_that_accept_gave() {
        let mapped = "0000000000000000FFFF00000100007F:0D05";
        assert_eq!(address(mapped), Some("127.0.0.1:3333".parse().unwrap()));
        assert_eq!(address("nonsense"), None);
    }
}
