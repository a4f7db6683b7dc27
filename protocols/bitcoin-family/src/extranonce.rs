//! Folding: how a pool's extranonce disappears in the coinbase.
//!
//! A coinbase is `coinb1 ‖ extranonce1 ‖ extranonce2 ‖ coinb2`. The miner keeps one extranonce1 `E`
//! and one extranonce2 size `s` of ours for life. For a pool with extranonce1 `P` and extranonce2
//! size `b ≥ |E| + s` a job goes down with `coinb1 ‖ P ‖ pad` for its `coinb1`, and a share goes up
//! with `pad ‖ E ‖ extranonce2` for its extranonce2, where `pad` fills `b − |E| − s` bytes. The bytes
//! of the coinbase are the same on both sides.
//!
//! A pool without so much room is served by the rungs below: the miner is told the pool's own
//! extranonce, or goes away and comes back to be given a smaller one of ours.

use jsonrpc::{elements, string, unsigned};
use serde::{Deserialize, Serialize};
use switcher_plugin::{Rung, Rungs};

use crate::options::Sizes;
use crate::quirks::{Quirks, SetExtranonce};

/// Longest extranonce1 of a pool that is understood. The longest seen is 12 (Decred).
const MAX_POOL_EXTRANONCE1: usize = 16;

/// Largest extranonce2 size of a pool that is understood. cgminer goes to 16.
const MAX_POOL_EXTRANONCE2: u8 = 32;

/// Smallest extranonce2 size that a miner is told with `mining.set_extranonce`: cpuminer's heirs take
/// no smaller one.
const TOLD_LEAST: u8 = 2;

/// What the miner was told: `E` and `s`. Fixed for the life of the session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Own {
    /// `E` is the low end of this number, big-endian, and so is `pad ‖ E`: sessions differ there
    /// even at pools that give every connection the same extranonce1 (Braiins gives `00`).
    short_id: u32,
    len: u8,
    size2: u8,
}

/// What may be done about a pool that has no room to fold.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Means {
    /// What is allowed.
    pub(crate) rungs: Rungs,
    /// The miner has asked for `mining.set_extranonce`.
    pub(crate) subscribed: bool,
    /// What is known about the miner.
    pub(crate) quirks: Quirks,
}

/// What a pool said: `P` and `b`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Theirs {
    bytes: [u8; MAX_POOL_EXTRANONCE1],
    len: u8,
    size2: u8,
}

impl Own {
    pub(crate) fn new(short_id: u32, sizes: Sizes) -> Self {
        Self { short_id, len: sizes.size1, size2: sizes.size2 }
    }

    /// `|E|`.
    pub(crate) fn len(self) -> usize {
        usize::from(self.len)
    }

    /// `s`.
    pub(crate) fn size2(self) -> usize {
        usize::from(self.size2)
    }

    /// Whether the sizes are ones a session can have; for state that was saved.
    pub(crate) fn is_sound(self) -> bool {
        (1..=8).contains(&self.len) && (1..=8).contains(&self.size2)
    }

    /// Appends `E` in hex.
    pub(crate) fn write_hex(self, out: &mut Vec<u8>) {
        self.write_tail(out, self.len(), self.len());
    }

    /// Appends, in hex, `count` bytes of the number that are followed by `from − count` others.
    fn write_tail(self, out: &mut Vec<u8>, from: usize, count: usize) {
        for place in (from.saturating_sub(count)..from).rev() {
            write_byte(out, self.byte(place));
        }
    }

    /// The byte of `pad ‖ E` that `place` others follow.
    fn byte(self, place: usize) -> u8 {
        let bytes = self.short_id.to_be_bytes();
        bytes.len().checked_sub(place + 1).and_then(|at| bytes.get(at)).copied().unwrap_or(0)
    }

    fn is(self, theirs: &Theirs) -> bool {
        let bytes = theirs.bytes.get(..theirs.len()).unwrap_or_default();
        self.len() == theirs.len()
            && (0..self.len()).rev().zip(bytes).all(|(place, byte)| self.byte(place) == *byte)
    }
}

impl Theirs {
    /// Reads the result of `mining.subscribe`.
    ///
    /// # Errors
    ///
    /// It has another form; ckpool, for one, answers with the text "proxy full".
    pub(crate) fn of_subscribe(result: &[u8]) -> Result<Self, String> {
        let mut parts = elements(result).skip(1);
        match (parts.next(), parts.next()) {
            (Some(extranonce1), Some(size2)) => Self::of(extranonce1, size2).ok_or_else(|| {
                format!(
                    "the pool's extranonce is of no use: {} with extranonce2 size {}",
                    shown(extranonce1),
                    shown(size2)
                )
            }),
            _ => {
                Err(format!("the pool's answer to subscribe is no subscription: {}", shown(result)))
            }
        }
    }

    /// Reads the parameters of `mining.set_extranonce`. Some pools leave the size out.
    pub(crate) fn of_set_extranonce(params: &[u8], before: Self) -> Option<Self> {
        let mut parts = elements(params);
        let extranonce1 = parts.next()?;
        match parts.next() {
            Some(size2) => Self::of(extranonce1, size2),
            None => Self::of(extranonce1, before.size2.to_string().as_bytes()),
        }
    }

    fn of(extranonce1: &[u8], size2: &[u8]) -> Option<Self> {
        let digits = string(extranonce1)?;
        let size2 = u8::try_from(unsigned(size2)?).ok()?;
        if digits.len() % 2 != 0
            || digits.len() > 2 * MAX_POOL_EXTRANONCE1
            || !(1..=MAX_POOL_EXTRANONCE2).contains(&size2)
        {
            return None;
        }
        let mut bytes = [0; MAX_POOL_EXTRANONCE1];
        for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
            *byte = hex_byte(pair)?;
        }
        Some(Self { bytes, len: u8::try_from(digits.len() / 2).ok()?, size2 })
    }

    /// `|P|`.
    pub(crate) fn len(&self) -> usize {
        usize::from(self.len)
    }

    /// Whether this is the id that we propose to pools for `short_id`.
    pub(crate) fn is_proposal(&self, short_id: u32) -> bool {
        self.bytes.get(..self.len()) == Some(&short_id.to_be_bytes()[..])
    }

    /// `b`.
    pub(crate) fn size2(&self) -> u8 {
        self.size2
    }

    /// Whether the sizes are ones that can be read; for state that was saved.
    pub(crate) fn is_sound(&self) -> bool {
        self.len() <= MAX_POOL_EXTRANONCE1 && (1..=MAX_POOL_EXTRANONCE2).contains(&self.size2)
    }

    /// Appends `P` in hex.
    pub(crate) fn write_hex(&self, out: &mut Vec<u8>) {
        for &byte in self.bytes.get(..self.len()).unwrap_or_default() {
            write_byte(out, byte);
        }
    }

    /// How a miner with `own` is served by this pool, by the best rung there is.
    ///
    /// # Errors
    ///
    /// It cannot be served; the text says how much room is missing, and what stands in the way of
    /// the rungs below.
    pub(crate) fn rung(&self, own: Own, means: Means) -> Result<Rung, String> {
        let Means { rungs, subscribed, quirks } = means;
        if let Some(rung) = self.fits(own).filter(|rung| rungs.has(*rung)) {
            return Ok(rung);
        }
        let can_change = self.may_be_told(own, quirks);
        if rungs.has(Rung::Announce) && subscribed && can_change {
            return Ok(Rung::Announce);
        }
        let can_return = sizes_for(self.size2, quirks).is_some();
        if rungs.has(Rung::Reconnect) && can_return && quirks.obeys_reconnect {
            return Ok(Rung::Reconnect);
        }
        if rungs.has(Rung::Drop) && can_return {
            return Ok(Rung::Drop);
        }
        let announce = match (rungs.has(Rung::Announce), subscribed) {
            (false, _) => "not allowed",
            _ if quirks.set_extranonce == SetExtranonce::Never => "this miner does not bear it",
            (true, false) => "not asked for",
            (true, true) => "more than this miner can change",
        };
        let reconnect = match (can_return, rungs.has(Rung::Reconnect)) {
            (false, _) => "of no use, the miner needs more room",
            (true, false) => "not allowed, or tried in vain",
            (true, true) => "not known to be obeyed by this miner",
        };
        Err(format!(
            "no room to fold: the pool's extranonce2 has {} bytes, the miner's extranonce1 and \
             extranonce2 need {} + {}; announce: {announce}; reconnect: {reconnect}",
            self.size2, own.len, own.size2
        ))
    }

    /// How a miner with `own` is served without noticing, if there is room.
    pub(crate) fn fits(&self, own: Own) -> Option<Rung> {
        if self.size2 == own.size2 && own.is(self) {
            return Some(Rung::Echo);
        }
        (usize::from(self.size2) >= own.len() + own.size2()).then_some(Rung::Fold)
    }

    /// Whether a miner that asks for it can be told this extranonce in place of `own`.
    fn may_be_told(&self, own: Own, quirks: Quirks) -> bool {
        let is_usual = (TOLD_LEAST.max(quirks.extranonce2_least)..=8).contains(&self.size2)
            && quirks.extranonce2_size.is_none_or(|size| size == self.size2);
        let can_change = match quirks.set_extranonce {
            SetExtranonce::Any => is_usual,
            SetExtranonce::Never => false,
            SetExtranonce::SameSize => self.size2 == own.size2,
        };
        // NerdMiner, for one, aborts on an empty extranonce1.
        can_change && self.len > 0
    }

    /// Appends, in hex, what stands between the pool's `coinb1` and the miner's extranonce1.
    pub(crate) fn write_insert(&self, own: Own, out: &mut Vec<u8>) {
        if let Some(pad) = self.pad(own) {
            self.write_hex(out);
            own.write_tail(out, own.len() + pad, pad);
        }
    }

    /// Appends, in hex, what stands in front of the miner's extranonce2 in the pool's.
    pub(crate) fn write_prefix(&self, own: Own, out: &mut Vec<u8>) {
        if let Some(pad) = self.pad(own) {
            let count = own.len() + pad;
            own.write_tail(out, count, count);
        }
    }

    /// Bytes of `pad`; `None` if nothing is folded because the pool uses the miner's own extranonce.
    fn pad(&self, own: Own) -> Option<usize> {
        match self.fits(own)? {
            Rung::Echo => None,
            _ => usize::from(self.size2).checked_sub(own.len() + own.size2()),
        }
    }
}

/// Appends, in hex, the extranonce1 that a miner mines by: a pool's that it was told, or its own.
/// Returns the extranonce2 size.
pub(crate) fn write_in_force(own: Own, told: Option<&Theirs>, out: &mut Vec<u8>) -> usize {
    if let Some(told) = told {
        told.write_hex(out);
        return usize::from(told.size2);
    }
    own.write_hex(out);
    own.size2()
}

/// What sizes of ours a pool with this extranonce2 size has room to fold, if there are any that the
/// miner can work with.
pub(crate) fn sizes_for(room: u8, quirks: Quirks) -> Option<Sizes> {
    let sizes = match room {
        4.. => choose_sizes(Some(room), quirks),
        _ => Sizes { size1: 1, size2: quirks.extranonce2_size.unwrap_or(room.saturating_sub(1)) },
    };
    let is_enough = sizes.size2 >= quirks.extranonce2_least.max(1);
    (is_enough && sizes.size1 + sizes.size2 <= room).then_some(sizes)
}

/// What sizes a session's own extranonce shall have.
///
/// `smallest` is the smallest extranonce2 size among the pools that the session may meet, `None` if
/// nothing is known. Pools under 4 do not count: nobody shall have a tiny extranonce2 for the sake of
/// one pool (NiceHash has 3).
pub(crate) fn choose_sizes(smallest: Option<u8>, quirks: Quirks) -> Sizes {
    let room = smallest.map_or(4, |size| size.clamp(4, 8));
    let mut sizes = match room {
        8.. => Sizes { size1: 4, size2: 4 },
        5..=7 => Sizes { size1: room - 4, size2: 4 },
        _ => Sizes { size1: 1, size2: 3 },
    };
    sizes.size2 = quirks.extranonce2_size.unwrap_or(sizes.size2).max(quirks.extranonce2_least);
    sizes
}

fn hex_byte(pair: &[u8]) -> Option<u8> {
    let digit = |at: usize| char::from(*pair.get(at)?).to_digit(16);
    u8::try_from(digit(0)? << 4 | digit(1)?).ok()
}

fn write_byte(out: &mut Vec<u8>, byte: u8) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    for digit in [byte >> 4, byte & 15] {
        out.extend(DIGITS.get(usize::from(digit)));
    }
}

/// A peer's value for a reason that is logged: text, and not too much of it.
fn shown(span: &[u8]) -> String {
    String::from_utf8_lossy(span.get(..60).unwrap_or(span)).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hex(write: impl FnOnce(&mut Vec<u8>)) -> String {
        let mut out = Vec::new();
        write(&mut out);
        String::from_utf8(out).unwrap()
    }

    fn means(rungs: Rungs, subscribed: bool, agent: &str) -> Means {
        let rungs = rungs.without(Rung::Drop);
        Means { rungs, subscribed, quirks: Quirks::of(agent, &[]) }
    }

    fn own(size1: u8, size2: u8) -> Own {
        Own::new(0x0102_0304, Sizes { size1, size2 })
    }

    #[test]
    fn every_published_form_of_the_subscribe_answer_is_read() {
        for (result, len, size2) in [
            (r#"[[["mining.set_difficulty","1"],["mining.notify","1"]],"00",6]"#, 1, 6),
            (r#"[[["mining.notify","c40bb540"]],"c40bb540",4]"#, 4, 4),
            (r#"[["mining.notify","ae68"],"",8]"#, 0, 8),
            (r#"[["mining.set_difficulty","0","mining.notify","0"],"00000000",4]"#, 4, 4),
            (r#"[null,"06650601bd171b",8]"#, 7, 8),
            (r#"["id","3263b370affeb0d550",3]"#, 9, 3),
        ] {
            let theirs = Theirs::of_subscribe(result.as_bytes()).unwrap();

            assert_eq!((theirs.len(), theirs.size2()), (len, size2), "{result}");
        }
    }

    #[test]
    fn answers_that_are_no_subscription_are_refused() {
        for result in [
            r#""proxy full""#,
            "true",
            "null",
            "[]",
            r#"[[],"00"]"#,
            r#"[[],"0",4]"#,
            r#"[[],"zz",4]"#,
            r#"[[],"00",0]"#,
            r#"[[],"00",-1]"#,
            r#"[[],"00",1.5]"#,
            r#"[[],"00",300]"#,
            r#"[[],"0000000000000000000000000000000000",4]"#,
        ] {
            assert!(Theirs::of_subscribe(result.as_bytes()).is_err(), "{result}");
        }
    }

    #[test]
    fn the_pool_that_uses_our_extranonce_is_left_alone() {
        let theirs = Theirs::of_subscribe(br#"[[],"01020304",8]"#).unwrap();

        assert_eq!(theirs.fits(own(4, 8)), Some(Rung::Echo));
        assert_eq!(hex(|out| theirs.write_insert(own(4, 8), out)), "");
        assert_eq!(hex(|out| theirs.write_prefix(own(4, 8), out)), "");
    }

    #[test]
    fn folding_fills_the_pools_extranonce2_to_the_byte() {
        let theirs = Theirs::of_subscribe(br#"[[],"aabb",8]"#).unwrap();

        assert_eq!(theirs.fits(own(1, 3)), Some(Rung::Fold));
        assert_eq!(hex(|out| theirs.write_insert(own(1, 3), out)), "aabb00010203");
        assert_eq!(hex(|out| theirs.write_prefix(own(1, 3), out)), "0001020304");
        assert_eq!(hex(|out| own(1, 3).write_hex(out)), "04");
    }

    #[test]
    fn a_pool_without_room_is_refused_with_the_numbers() {
        let theirs = Theirs::of_subscribe(br#"[[],"3263b370",3]"#).unwrap();

        let why = theirs.rung(own(1, 3), means(Rungs::ALL, false, "x/1")).unwrap_err();

        assert!(why.contains("has 3 bytes") && why.contains("1 + 3"), "{why}");
        assert!(why.contains("announce: not asked for"), "{why}");
    }

    #[test]
    fn a_pool_without_room_is_reached_by_the_best_rung_that_the_miner_knows() {
        let tiny = Theirs::of_subscribe(br#"[[],"3263b370",3]"#).unwrap();
        let (all, no_announce) = (Rungs::ALL, Rungs::ALL.without(Rung::Announce));
        for (agent, subscribed, rungs, size2, expected) in [
            ("bmminer/2.0.0", true, all, 4, Some(Rung::Announce)),
            ("bmminer/2.0.0", true, no_announce, 4, Some(Rung::Reconnect)),
            ("bmminer/2.0.0", false, all, 4, Some(Rung::Reconnect)),
            ("unheard/1", true, all, 3, Some(Rung::Announce)),
            ("unheard/1", true, all, 4, None),
            ("nerdqaxe/1", true, all, 3, None),
            ("cgminer/4.1 avalon", true, all, 4, Some(Rung::Announce)),
            ("cgminer/4.1 avalon", false, all, 4, None),
        ] {
            let rung = tiny.rung(own(1, size2), means(rungs, subscribed, agent));

            assert_eq!(rung.clone().ok(), expected, "{agent} {subscribed}: {rung:?}");
        }
        let may_drop = Means { rungs: all, ..means(all, false, "unheard/1") };
        assert_eq!(tiny.rung(own(1, 3), may_drop), Ok(Rung::Drop));
    }

    #[test]
    fn who_comes_back_gets_what_the_pool_has_room_for() {
        for (room, agent, sizes) in [
            (1, "cgminer/4.1", None),
            (2, "cgminer/4.1", Some((1, 1))),
            (3, "cgminer/4.1", Some((1, 2))),
            (4, "cgminer/4.1", Some((1, 3))),
            (8, "cgminer/4.1", Some((4, 4))),
            (3, "avalon", None),
            (4, "nicehash/", None),
            (5, "nicehash/", Some((1, 4))),
        ] {
            let given = sizes_for(room, Quirks::of(agent, &[]));

            assert_eq!(given.map(|sizes| (sizes.size1, sizes.size2)), sizes, "{room} {agent}");
        }
    }

    #[test]
    fn a_set_extranonce_without_a_size_keeps_the_size() {
        let before = Theirs::of_subscribe(br#"[[],"00",6]"#).unwrap();

        assert_eq!(Theirs::of_set_extranonce(br#"["0102"]"#, before).map(|t| t.size2()), Some(6));
        assert_eq!(Theirs::of_set_extranonce(br#"["01",4]"#, before).map(|t| t.size2()), Some(4));
        assert_eq!(Theirs::of_set_extranonce(br#"["01",33]"#, before), None);
        assert_eq!(Theirs::of_set_extranonce(b"[]", before), None);
    }

    #[test]
    fn sizes_follow_the_smallest_pool_unless_it_is_tiny() {
        let none = Quirks::default();
        for (smallest, size1, size2) in [
            (None, 1, 3),
            (Some(16), 4, 4),
            (Some(8), 4, 4),
            (Some(7), 3, 4),
            (Some(6), 2, 4),
            (Some(5), 1, 4),
            (Some(4), 1, 3),
            (Some(3), 1, 3),
        ] {
            assert_eq!(choose_sizes(smallest, none), Sizes { size1, size2 }, "{smallest:?}");
        }
    }
}
