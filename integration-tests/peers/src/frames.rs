//! The binary frames of `BTCAgent`s, as both ends write and read them (btccom/btcpool, docs/AGENT.md).

use crate::lines::FRAME;

/// A share in a frame.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct FrameShare {
    /// Name of the job.
    pub job: u8,
    /// Number of the sub-miner.
    pub sid: u16,
    /// The low half of extranonce2.
    pub extranonce2: u32,
    /// Header nonce.
    pub nonce: u32,
    /// Header time, if it is not the job's.
    pub ntime: Option<u32>,
    /// Rolled version bits, if there are any.
    pub bits: Option<u32>,
}

/// What a frame says.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Frame {
    /// A sub-miner has come: its number, agent and name.
    Register(u16, String, String),
    /// A sub-miner has gone.
    Unregister(u16),
    /// A share.
    Share(FrameShare),
    /// Sub-miners that shall mine at 2 to this power.
    Difficulty(u8, Vec<u16>),
    /// What became of the share with this index.
    Answer(u16, i32),
}

/// What sserver answers to a share that it takes.
pub const ACCEPT: i32 = 0x6b2c_9687;

impl Frame {
    /// Reads a frame.
    ///
    /// # Errors
    ///
    /// A sentence that says what is wrong with it.
    pub fn read(bytes: &[u8]) -> Result<Self, String> {
        let bad = || format!("no frame: {}", hex::encode(bytes));
        let [FRAME, command, low, high, body @ ..] = bytes else { return Err(bad()) };
        if usize::from(u16::from_le_bytes([*low, *high])) != bytes.len() {
            return Err(format!("a wrong length: {}", hex::encode(bytes)));
        }
        let mut rest = body;
        let mut take = |count: usize| {
            let (taken, left) = rest.split_at_checked(count).ok_or_else(bad)?;
            rest = left;
            let number = taken.iter().rev().fold(0_u32, |all, byte| all << 8 | u32::from(*byte));
            Ok::<u32, String>(number)
        };
        let short = |number: u32| u16::try_from(number).map_err(|_| bad());
        let byte = |number: u32| u8::try_from(number).map_err(|_| bad());
        let frame = match command {
            0x01 if (8..=100).contains(&bytes.len()) => {
                let sid = short(take(2)?)?;
                let mut texts = rest.split(|byte| *byte == 0);
                let mut text = || String::from_utf8_lossy(texts.next().unwrap_or_default()).into();
                let frame = Self::Register(sid, text(), text());
                rest = &[];
                frame
            }
            0x04 => Self::Unregister(short(take(2)?)?),
            0x05 => {
                let (exponent, count) = (byte(take(1)?)?, take(2)?);
                let sids = (0..count).map(|_| short(take(2)?)).collect::<Result<_, _>>()?;
                Self::Difficulty(exponent, sids)
            }
            0x10 => Self::Answer(short(take(2)?)?, take(4)?.cast_signed()),
            0x02 | 0x03 | 0x12 | 0x13 => Self::Share(FrameShare {
                job: byte(take(1)?)?,
                sid: short(take(2)?)?,
                extranonce2: take(4)?,
                nonce: take(4)?,
                ntime: if command & 1 == 1 { Some(take(4)?) } else { None },
                bits: if command & 0x10 != 0 { Some(take(4)?) } else { None },
            }),
            _ => return Err(bad()),
        };
        if rest.is_empty() { Ok(frame) } else { Err(bad()) }
    }

    /// The bytes of a frame.
    ///
    /// # Panics
    ///
    /// If it is longer than a frame can be.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut body = Vec::new();
        let command = match self {
            Self::Register(sid, agent, name) => {
                body.extend(sid.to_le_bytes());
                body.extend([agent.as_bytes(), &[0], name.as_bytes(), &[0]].concat());
                0x01
            }
            Self::Unregister(sid) => {
                body.extend(sid.to_le_bytes());
                0x04
            }
            Self::Difficulty(exponent, sids) => {
                body.push(*exponent);
                body.extend(u16::try_from(sids.len()).expect("one frame's worth").to_le_bytes());
                body.extend(sids.iter().flat_map(|sid| sid.to_le_bytes()));
                0x05
            }
            Self::Answer(index, status) => {
                body.extend(index.to_le_bytes());
                body.extend(status.to_le_bytes());
                0x10
            }
            Self::Share(share) => {
                body.push(share.job);
                body.extend(share.sid.to_le_bytes());
                let longs = [Some(share.extranonce2), Some(share.nonce), share.ntime, share.bits];
                body.extend(longs.into_iter().flatten().flat_map(u32::to_le_bytes));
                match (share.ntime, share.bits) {
                    (None, None) => 0x02,
                    (Some(_), None) => 0x03,
                    (None, Some(_)) => 0x12,
                    (Some(_), Some(_)) => 0x13,
                }
            }
        };
        let length = u16::try_from(body.len() + 4).expect("one frame's worth").to_le_bytes();
        [&[FRAME, command][..], &length, &body].concat()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_examples_of_the_description_are_read_and_written() {
        for (bytes, frame) in [
            (
                "7f011400221163676d696e657200733130393900",
                Frame::Register(0x1122, "cgminer".into(), "s1099".into()),
            ),
            ("7f0406002211", Frame::Unregister(0x1122)),
            ("7f050b000d020022114433", Frame::Difficulty(13, vec![0x1122, 0x3344])),
            ("7f100a00000087962c6b", Frame::Answer(0, ACCEPT)),
            (
                "7f131700a9221144332211ddccbbaad02abd5700001200",
                Frame::Share(FrameShare {
                    job: 0xa9,
                    sid: 0x1122,
                    extranonce2: 0x1122_3344,
                    nonce: 0xaabb_ccdd,
                    ntime: Some(0x57bd_2ad0),
                    bits: Some(0x0012_0000),
                }),
            ),
        ] {
            let bytes = hex::decode(bytes).unwrap();
            assert_eq!(Frame::read(&bytes).as_ref(), Ok(&frame));
            assert_eq!(frame.to_bytes(), bytes);
        }
    }

    #[test]
    fn what_is_no_frame_is_named() {
        for bytes in ["", "7f", "7f020300", "7f990400", "7f04070022110", "7f020f00a9221144332211dd"]
        {
            let bytes = hex::decode(bytes.get(..bytes.len() & !1).unwrap()).unwrap();
            assert!(Frame::read(&bytes).is_err(), "{bytes:?}");
        }
    }
}
