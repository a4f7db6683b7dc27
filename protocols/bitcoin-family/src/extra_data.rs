//! Decred's extranonce: bytes of the header, not of a coinbase.
//!
//! A header of 180 bytes ends with time, nonce, 32 bytes `ExtraData` and the stake version. The
//! session id stands in `ExtraData`, least significant byte first, in one of two ways:
//!
//! * *normal* (`tpruvot`): the miner is told 12 bytes, `0000000000000000 ‖ id`, takes them for a
//!   template and rolls the first 8. It submits all 12; sserver reads the first 8 of them.
//! * *gominer*, which is the configuration's name for `NiceHash`'s rule: the miner is told the 4
//!   bytes of the id and appends 8 of its own. It submits those 8; Antminer DR3 submits all 12.
//!
//! Nothing can be folded: a pool's bytes stand where the miner rolls or has its own, and no other
//! field of the header is free. So a pool serves a miner that was told what the pool says, at first
//! or with `mining.set_extranonce`, and no other. Header bytes of the two ways differ, so neither can stand in for the other.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use switcher_plugin::ProfileError;

use crate::extranonce::{Theirs, hex_byte};
use crate::quirks::Quirks;
use stratum_common::settings::wrong;

/// The extranonce2 size that miners are told. In the normal form they do not use it.
pub(crate) const SIZE2: u8 = 8;

/// Bytes of `ExtraData`.
const EXTRA_DATA: usize = 32;

/// Bytes of a template.
const TEMPLATE: usize = 12;

/// Bytes of a session id.
const ID: usize = 4;

/// Where the time stands in `coinb1`, in hex digits: behind merkle root, stake root, vote bits, final
/// state, voters, fresh stake, revocations, pool size, bits, stake difficulty, height and size.
const TIME_AT: usize = 200;

/// What a miner is told, and where it puts it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Form {
    /// 12 bytes, a template of which the first 8 are rolled.
    Normal,
    /// 4 bytes, to which 8 are appended.
    Gominer,
}

/// A listener's wish.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wanted {
    /// What the miner's software needs, as far as that is known.
    ByAgent,
    /// The same for all.
    Always(Form),
}

/// The bytes of an extranonce1.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Told {
    bytes: [u8; TEMPLATE],
    from: usize,
}

impl Told {
    pub(crate) fn as_slice(&self) -> &[u8] {
        self.bytes.get(self.from..).unwrap_or_default()
    }
}

impl Wanted {
    /// Reads the option `form`.
    ///
    /// # Errors
    ///
    /// Its value is not one of those accepted.
    pub(crate) fn read(key: &str, value: &Value) -> Result<Self, ProfileError> {
        match value.as_str() {
            Some("auto") => Ok(Self::ByAgent),
            Some("normal") => Ok(Self::Always(Form::Normal)),
            Some("gominer") => Ok(Self::Always(Form::Gominer)),
            _ => Err(wrong(key, value, "auto, normal and gominer are accepted")),
        }
    }

    /// What a miner with these quirks is told.
    pub(crate) fn for_miner(self, quirks: Quirks) -> Form {
        match self {
            Self::Always(form) => form,
            Self::ByAgent if quirks.appends_extranonce2 => Form::Gominer,
            Self::ByAgent => Form::Normal,
        }
    }
}

impl Form {
    /// Both of them.
    pub(crate) const ALL: [Self; 2] = [Self::Normal, Self::Gominer];

    /// The extranonce1 for a session id.
    pub(crate) fn told(self, short_id: u32) -> Told {
        let [a, b, c, d] = short_id.to_le_bytes();
        let from = match self {
            Self::Normal => 0,
            Self::Gominer => 8,
        };
        Told { bytes: [0, 0, 0, 0, 0, 0, 0, 0, a, b, c, d], from }
    }

    /// Whether a pool says what a miner was told.
    pub(crate) fn is_met_by(self, short_id: u32, theirs: &Theirs) -> bool {
        // The size is not used where the miner takes what it is told for a template.
        self.told(short_id).as_slice() == theirs.bytes()
            && (self == Self::Normal || theirs.size2() == SIZE2)
    }

    /// Whether a miner of this form can mine with what a pool says, once it is told.
    pub(crate) fn can_use(self, theirs: &Theirs) -> bool {
        let is_template = theirs.len() == TEMPLATE;
        match self {
            Self::Normal => is_template,
            Self::Gominer => {
                !is_template && theirs.len() + usize::from(theirs.size2()) <= EXTRA_DATA
            }
        }
    }

    /// Why a pool that says something else cannot serve a miner that goes on with what it was told.
    pub(crate) fn why_not(self, short_id: u32, theirs: &Theirs) -> String {
        let mut has = Vec::new();
        theirs.write_hex(&mut has);
        let has = String::from_utf8_lossy(&has);
        let is_told = |form: Self| form.told(short_id).as_slice() == theirs.bytes();
        match Self::ALL.into_iter().find(|form| *form != self && is_told(*form)) {
            Some(other) => format!(
                "the pool puts extranonce1 {has} where {} miners have it, this miner was told it \
                 in the form for {} miners",
                other.name(),
                self.name()
            ),
            None => format!(
                "nothing can be folded into Decred's header: the pool has extranonce1 {has} and \
                 extranonce2 size {}, the miner was told others",
                theirs.size2()
            ),
        }
    }

    /// What goes up for a miner's extranonce2, both in hex. A pool that appends wants what was
    /// appended; a miner may have sent what is in front of it as well.
    pub(crate) fn for_pool(self, short_id: u32, extranonce2: &[u8]) -> &[u8] {
        let told = self.told(short_id);
        let is_block = extranonce2.len() == 2 * (ID + usize::from(SIZE2));
        let (front, appended) = extranonce2.split_at_checked(2 * ID).unwrap_or_default();
        let is_own =
            front.chunks_exact(2).map(hex_byte).eq(told.as_slice().iter().map(|byte| Some(*byte)));
        if self == Self::Gominer && is_block && is_own { appended } else { extranonce2 }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Normal => "normal",
            Self::Gominer => "gominer",
        }
    }
}

/// Whether so many hex digits can be a part of `ExtraData`. Miners send 4, 7, 8 or 12 bytes,
/// depending on their software; what a pool makes of them is its business.
pub(crate) fn may_send(digits: usize) -> bool {
    digits.is_multiple_of(2) && (1..=EXTRA_DATA).contains(&(digits / 2))
}

/// The times of a job that is sent again, some seconds later.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Later {
    /// For the job's own field.
    pub(crate) field: u32,
    /// For the header, if the time in `coinb1` is the job's.
    header: Option<u32>,
}

impl Later {
    /// What `field` becomes, and the time in `coinb1`, where some miners take it from. dcrpool has
    /// the bytes of the field in either order, as the miner's program wants them.
    pub(crate) fn of(field: u32, coinbase1: &[u8], seconds: u32) -> Self {
        let digits = coinbase1.get(TIME_AT..TIME_AT + 8);
        let before = digits.and_then(|digits| std::str::from_utf8(digits).ok());
        let before = before.and_then(|digits| u32::from_str_radix(digits, 16).ok());
        match before.map(u32::swap_bytes) {
            Some(before) if before.swap_bytes() == field && before != field => {
                let header = before.saturating_add(seconds);
                Self { field: header.swap_bytes(), header: Some(header) }
            }
            before => {
                let later = field.saturating_add(seconds);
                Self { field: later, header: before.filter(|time| *time == field).map(|_| later) }
            }
        }
    }

    /// Appends `coinb1` with the later time in it.
    pub(crate) fn write_coinbase1(self, coinbase1: &[u8], out: &mut Vec<u8>) {
        let start = out.len() + TIME_AT;
        out.extend_from_slice(coinbase1);
        if let Some(time) = self.header
            && let Some(place) = out.get_mut(start..start + 8)
        {
            place.copy_from_slice(format!("{:08x}", time.swap_bytes()).as_bytes());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: u32 = 0x0100_0080;

    fn theirs(extranonce1: &str, size2: u8) -> Theirs {
        Theirs::of_subscribe(format!("[[],\"{extranonce1}\",{size2}]").as_bytes()).unwrap()
    }

    /// The examples of the original: server 1, first id.
    #[test]
    fn miners_are_told_the_id_with_its_lowest_byte_first() {
        assert_eq!(Form::Normal.told(ID).as_slice(), [0, 0, 0, 0, 0, 0, 0, 0, 0x80, 0, 0, 1]);
        assert_eq!(Form::Gominer.told(ID).as_slice(), [0x80, 0, 0, 1]);
    }

    #[test]
    fn a_miner_is_told_what_its_software_needs() {
        let told = |wanted: Wanted, agent: &str| wanted.for_miner(Quirks::of(agent, &[]));

        assert_eq!(told(Wanted::ByAgent, "NiceHash/1.0.0"), Form::Gominer);
        assert_eq!(told(Wanted::ByAgent, "decred-gominer/1.0.0"), Form::Normal);
        assert_eq!(told(Wanted::Always(Form::Normal), "NiceHash/1.0.0"), Form::Normal);
        assert_eq!(told(Wanted::Always(Form::Gominer), "ccminer/2.3"), Form::Gominer);
    }

    #[test]
    fn the_pool_must_say_what_the_miner_was_told() {
        let (normal, gominer) = ("000000000000000080000001", "80000001");

        assert!(Form::Normal.is_met_by(ID, &theirs(normal, 8)));
        assert!(Form::Normal.is_met_by(ID, &theirs(normal, 12)));
        assert!(Form::Gominer.is_met_by(ID, &theirs(gominer, 8)));
        for (form, extranonce1, size2, why) in [
            (Form::Normal, gominer, 8, "where gominer miners have it"),
            (Form::Gominer, normal, 8, "where normal miners have it"),
            (Form::Gominer, gominer, 7, "extranonce2 size 7"),
            (Form::Gominer, "01000080", 8, "extranonce1 01000080"),
            (Form::Normal, "0000000d", 4, "extranonce1 0000000d"),
            (Form::Normal, "780010894b", 7, "nothing can be folded"),
            (Form::Normal, "0000000000000000e3014335", 12, "nothing can be folded"),
        ] {
            let theirs = theirs(extranonce1, size2);
            let refused = form.why_not(ID, &theirs);

            assert!(!form.is_met_by(ID, &theirs) && refused.contains(why), "{refused}");
        }
    }

    #[test]
    fn a_miner_can_use_what_its_form_has_a_place_for() {
        for (form, extranonce1, size2, can) in [
            (Form::Normal, "0000000000000000e3014335", 12, true),
            (Form::Normal, "0000000d", 4, false),
            (Form::Normal, "780010894b", 7, false),
            (Form::Gominer, "0000000d", 4, true),
            (Form::Gominer, "780010894b", 7, true),
            (Form::Gominer, "780010894b", 28, false),
            // It would append to a template.
            (Form::Gominer, "0000000000000000e3014335", 12, false),
            (Form::Gominer, "000000000000000080000001", 8, false),
        ] {
            assert_eq!(form.can_use(&theirs(extranonce1, size2)), can, "{extranonce1}");
        }
    }

    #[test]
    fn a_pool_that_appends_gets_what_was_appended() {
        for (form, sent, goes_up) in [
            (Form::Gominer, "0102030405060708", "0102030405060708"),
            (Form::Gominer, "800000010102030405060708", "0102030405060708"),
            (Form::Gominer, "810000010102030405060708", "810000010102030405060708"),
            (Form::Normal, "010203040506070880000001", "010203040506070880000001"),
            (Form::Normal, "800000010506070880000001", "800000010506070880000001"),
        ] {
            assert_eq!(form.for_pool(ID, sent.as_bytes()), goes_up.as_bytes());
        }
    }

    #[test]
    fn what_miners_send_is_part_of_extra_data() {
        assert!([8, 14, 16, 24, 64].into_iter().all(may_send));
        assert!(![0, 1, 23, 66].into_iter().any(may_send));
    }

    #[test]
    fn a_later_job_is_later_in_both_places() {
        let coinbase1 = format!("{}8ec7835700000000", "ab".repeat(100));
        for (field, later_field) in [(0x5783_c78e, 0x5783_c790), (0x8ec7_8357, 0x90c7_8357)] {
            let later = Later::of(field, coinbase1.as_bytes(), 2);
            let mut out = b"x".to_vec();
            later.write_coinbase1(coinbase1.as_bytes(), &mut out);

            assert_eq!(later.field, later_field);
            assert_eq!(out, format!("x{}90c7835700000000", "ab".repeat(100)).as_bytes());
        }
    }

    #[test]
    fn a_first_half_without_the_jobs_time_is_left_alone() {
        for coinbase1 in ["c1".to_owned(), "ab".repeat(108)] {
            let later = Later::of(7, coinbase1.as_bytes(), 2);
            let mut out = Vec::new();
            later.write_coinbase1(coinbase1.as_bytes(), &mut out);

            assert_eq!((later.field, out), (9, coinbase1.into_bytes()));
        }
    }
}
