//! The frames against the worked examples of AGENT.md (corrected) and of sserver's own tests.

use super::*;

fn bytes(hex: &str) -> Vec<u8> {
    hex::decode(hex.replace(' ', "")).unwrap()
}

fn registered(hex: &str) -> Option<(u16, Vec<u8>)> {
    match FromAgent::read(&bytes(hex)) {
        FromAgent::Register(sid, body) => Some((sid, body.to_vec())),
        _ => None,
    }
}

fn submit(job: u8, sid: u16, extranonce2: u32, nonce: u32) -> Submit {
    Submit { job, sid, extranonce2, nonce, time: None, version: None }
}

#[test]
fn registrations_are_read_and_written_to_the_letter() {
    for (hex, sid, body) in [
        ("7f011400 2211 63676d696e657200 733130393900", 0x1122, &b"cgminer\0s1099\0"[..]),
        (
            "7f012300 feff 63676d696e6572223127 00 6269746b6576696e2e7465737463617365 00",
            0xfffe,
            b"cgminer\"1'\0bitkevin.testcase\0",
        ),
        ("7f010d00 0000 2227 00 612e62 00", 0, b"\"'\0a.b\0"),
        ("7f010800 0000 00 00", 0, b"\0\0"),
        ("7f010800 feff 00 00", 0xfffe, b"\0\0"),
        // What has no end is ended by sserver; here it is passed on as it is.
        ("7f010800 feff 61 6e", 0xfffe, b"an"),
        ("7f010800 feff 61 00", 0xfffe, b"a\0"),
        ("7f010800 feff 00 6e", 0xfffe, b"\0n"),
        ("7f010900 feff 00 00 6e", 0xfffe, b"\0\0n"),
        ("7f010900 feff 00 6e 00", 0xfffe, b"\0n\0"),
    ] {
        assert_eq!(registered(hex), Some((sid, body.to_vec())), "{hex}");
        let mut written = Vec::new();
        write_register(&mut written, sid, body);
        assert_eq!(written, bytes(hex));
        assert!(is_whole(&written));
    }
}

#[test]
fn registrations_that_sserver_would_drop_are_told_apart() {
    let long = [&[MAGIC, REGISTER, 101, 0, 1, 0][..], &[b'x'; 95]].concat();
    for frame in [bytes("7f010700 0000 00"), bytes("7f010800 ffff 00 00"), long] {
        assert_eq!(FromAgent::read(&frame), FromAgent::BadRegister, "{frame:?}");
    }
    let longest = [&[MAGIC, REGISTER, 100, 0, 1, 0][..], &[b'x'; 94]].concat();
    assert!(matches!(FromAgent::read(&longest), FromAgent::Register(1, _)));
}

#[test]
fn shares_are_read_and_written_to_the_letter() {
    let plain = submit(169, 0x1122, 0x1122_3344, 0xaabb_ccdd);
    let (time, version) = (Some(0x57bd_2ad0), Some(0x0012_0000));
    let test = submit(57, 0xfffe, 0x1234_5678, 0x90ab_cdef);
    for (hex, share) in [
        ("7f020f00 a9 2211 44332211 ddccbbaa", plain),
        ("7f031300 a9 2211 44332211 ddccbbaa d02abd57", Submit { time, ..plain }),
        ("7f121300 a9 2211 44332211 ddccbbaa 00001200", Submit { version, ..plain }),
        ("7f131700 a9 2211 44332211 ddccbbaa d02abd57 00001200", Submit { time, version, ..plain }),
        ("7f020f00 39 feff 78563412 efcdab90", test),
        (
            "7f031300 39 feff 78563412 efcdabff ab90efcd",
            Submit { nonce: 0xffab_cdef, time: Some(0xcdef_90ab), ..test },
        ),
        // The share of the end-to-end example: en2 00000001, nonce ce4b5706, bits 00c00000.
        (
            "7f12 1300 09 0500 01000000 06574bce 0000c000",
            Submit { version: Some(0x00c0_0000), ..submit(9, 5, 1, 0xce4b_5706) },
        ),
    ] {
        assert_eq!(FromAgent::read(&bytes(hex)), FromAgent::Submit(share), "{hex}");
        let mut written = Vec::new();
        share.write(&mut written);
        assert_eq!(written, bytes(hex));
    }
}

#[test]
fn shares_of_the_wrong_size_are_told_apart() {
    for hex in [
        "7f020e00 a9 2211 44332211 ddccbb",
        "7f021000 a9 2211 44332211 ddccbbaa 00",
        "7f030f00 a9 2211 44332211 ddccbbaa",
        "7f020400",
        // As printed in AGENT.md, with the length of another command.
        "7f120f00 a9 2211 44332211 ddccbbaa",
        // Ethereum's, which has the sub-miner in front.
        "7f022e00 0500 97d17fee1da8d013 f55734482e85fd7b79ed67941fe8bf92edd86fa4c269e61172d41b9d691cd231",
    ] {
        assert_eq!(FromAgent::read(&bytes(hex)), FromAgent::BadSubmit, "{hex}");
    }
}

#[test]
fn sub_miners_leave() {
    assert_eq!(FromAgent::read(&bytes("7f040600 2211")), FromAgent::Unregister(0x1122));
    assert_eq!(FromAgent::read(&bytes("7f040600 feff")), FromAgent::Unregister(0xfffe));
    assert_eq!(FromAgent::read(&bytes("7f040700 2211 00")), FromAgent::WrongSize);
    assert_eq!(FromAgent::read(&bytes("7f040400")), FromAgent::WrongSize);
}

#[test]
fn commands_of_ethereum_and_of_nobody_are_unknown() {
    for hex in [
        "7f210600 0500",
        "7f990400",
        "7f144e00050097d17fee1da8d013f55734482e85fd7b79ed67941fe8bf92edd86fa4c269e61172d41b9d691cd231\
         99697ff51e793e42243ecf15566da3e64a5c7570b2914ae547e51212f73468ee",
    ] {
        assert_eq!(FromAgent::read(&bytes(hex)), FromAgent::Unknown, "{hex}");
        assert!(is_whole(&bytes(hex)));
    }
    for hex in ["7f220a00 0500 3f000100", "7f220a00 0500 ffffffff", "7f020400"] {
        assert_eq!(FromPool::read(&bytes(hex)), FromPool::Unknown, "{hex}");
    }
}

#[test]
fn difficulties_are_read_and_written_to_the_letter() {
    for (hex, exponent, sids) in [
        ("7f050b00 0d 0200 2211 4433", 13, &[0x1122, 0x3344][..]),
        ("7f050900 01 0100 0000", 1, &[0]),
    ] {
        let frame = bytes(hex);
        let FromPool::Difficulty(read, list) = FromPool::read(&frame) else { panic!("{hex}") };
        assert_eq!((read, list.iter().collect::<Vec<_>>()), (exponent, sids.to_vec()));
        let mut written = Vec::new();
        write_difficulty(&mut written, exponent, sids);
        assert_eq!(written, frame);
    }
    assert!(matches!(FromPool::read(&bytes("7f050700 0d 0000")), FromPool::Difficulty(13, _)));
}

#[test]
fn all_sub_miners_take_three_frames() {
    let sids: Vec<u16> = (0..=MAX_SID).collect();
    let mut written = Vec::new();

    write_difficulty(&mut written, 63, &sids);

    let (mut rest, mut read, mut sizes) = (&written[..], Vec::new(), Vec::new());
    while let Some(Cut::Frame(end)) = cut(rest) {
        let (frame, after) = rest.split_at(end);
        let FromPool::Difficulty(63, list) = FromPool::read(frame) else { panic!() };
        read.extend(list.iter());
        sizes.push(end);
        rest = after;
    }
    assert_eq!(sizes, [65_535, 65_535, 21]);
    assert!(rest.is_empty() && read == sids);
}

#[test]
fn difficulties_that_do_not_fit_their_frame_are_of_the_wrong_size() {
    for hex in [
        "7f050b00 0d 0300 2211 4433",
        "7f050b00 0d 0100 2211 4433",
        "7f050a00 0d 0100 2211 44",
        "7f050600 0d 01",
        "7f050900 40 0100 0000",
    ] {
        assert_eq!(FromPool::read(&bytes(hex)), FromPool::WrongSize, "{hex}");
    }
}

#[test]
fn answers_are_read_and_written_to_the_letter() {
    for (hex, index, status) in [
        ("7f100a00 0000 87962c6b", 0, 1_798_084_231),
        ("7f100a00 0000 1de2a538", 0, 950_395_421),
        ("7f100a00 0000 6e6dc954", 0, 1_422_486_894),
        ("7f100a00 0000 aa552966", 0, 1_713_984_938),
        ("7f100a00 0000 15000000", 0, 21),
        ("7f100a00 0000 16000000", 0, 22),
        ("7f100a00 0000 17000000", 0, 23),
        ("7f100a00 0000 21000000", 0, 33),
        ("7f100a00 ffff 87962c6b", 65_535, 1_798_084_231),
        ("7f100a00 0000 ffffff7f", 0, i32::MAX),
    ] {
        assert_eq!(FromPool::read(&bytes(hex)), FromPool::Response(index, status), "{hex}");
        let mut written = Vec::new();
        write_response(&mut written, index, status);
        assert_eq!(written, bytes(hex));
    }
    assert_eq!(FromPool::read(&bytes("7f100900 0000 879600")), FromPool::WrongSize);
}

#[test]
fn frames_are_cut_at_their_length_wherever_the_bytes_end() {
    let frame = bytes("7f040600 2211");
    for end in 1..frame.len() {
        assert_eq!(cut(&frame[..end]), Some(Cut::Partial), "{end}");
    }
    assert_eq!(cut(&frame), Some(Cut::Frame(6)));
    assert_eq!(cut(&[&frame[..], b"{\"id\":1}"].concat()), Some(Cut::Frame(6)));
    // A length that is too long waits for the rest, and takes the line behind it for that.
    assert_eq!(cut(&bytes("7f022000 a9 2211 44332211 ddccbbaa")), Some(Cut::Partial));
    for line in ["{\"id\":1}", "0fff0000", " ", ""] {
        assert_eq!(cut(line.as_bytes()), None);
    }
    assert_eq!(cut(&bytes("0fff0000")), None);
}

#[test]
fn a_length_below_the_headers_own_is_seen() {
    for hex in ["7f010000", "7f020300", "7f100300 00"] {
        assert_eq!(cut(&bytes(hex)), Some(Cut::Frame(4)), "{hex}");
        assert!(!is_whole(&bytes(hex)[..4]), "{hex}");
    }
    assert!(is_whole(&bytes("7f990400")));
}
