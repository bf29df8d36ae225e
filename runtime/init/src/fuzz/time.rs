//! Time servers, and what earlier boots left.

use super::Input;
use crate::clock::discipline::{Correction, Discipline};
use crate::clock::sntp::{self, fake};
use crate::clock::{Date, saved as clock};
use crate::net::saved as lease;

const NANOSECONDS: i64 = 1_000_000_000;

/// Answers of time servers to one client after the other, damaged or with any times in them, and what the clock does by them: it is
/// stepped at first, and later only by two samples that agree.
pub fn sntp(data: &[u8]) {
    let mut input = Input::new(data);
    let mut discipline = Discipline::default();
    let mut now = 1_795_435_200 * NANOSECONDS;
    let mut before = None;
    for _ in 0..20 {
        if input.is_empty() {
            break;
        }
        let nonce = input.u64();
        let sent = if input.seldom(8) {
            input.u64() as i64
        } else {
            now
        };
        let received = sent.saturating_add(i64::from(input.u32()));
        let mode = input.byte();
        let answer = if mode == 0 {
            input.piece().to_vec()
        } else {
            // From half a century before to half a century after.
            let arrived =
                now.saturating_add(input.u32() as i32 as i64 * NANOSECONDS * i64::from(mode & 1));
            let answered = arrived.saturating_add(input.u16().into());
            let stratum = input.pick(2, &[0, 1, 16]);
            let mut answer = fake::answer(&sntp::request(nonce), stratum, arrived, answered);
            if mode & 2 != 0 {
                input.damage(&mut answer);
            }
            answer
        };
        now = now.saturating_add(i64::from(input.u32()));
        let Ok(sample) = sntp::read(&answer, nonce, sent, received) else {
            continue;
        };
        assert!(sample.delay.as_nanos() <= u128::from(received.abs_diff(sent)));
        let small = sample.offset.unsigned_abs() <= 1_000_000_000;
        match discipline.correct(sample.offset) {
            Correction::Step => assert!(
                before.is_none_or(|before: i64| before.abs_diff(sample.offset) <= 500_000_000)
            ),
            Correction::Slew => assert!(before.is_some() && small),
            Correction::Confirm => assert!(before.is_some() && !small),
        }
        before = Some(sample.offset);
        // As the log shows it.
        let date = Date::of(now.saturating_add(sample.offset).div_euclid(NANOSECONDS));
        assert!(date.to_string().ends_with('Z'));
    }
}

/// The files of an earlier boot: a lease of this link and client, and a time that can be.
pub fn saved(data: &[u8]) {
    const MAC: &str = "52:54:00:12:34:56";
    const CLIENT: &str = "01525400123456";
    if let Some(saved) = lease::parse(data, MAC, CLIENT) {
        assert_eq!(
            (saved.mac.as_str(), saved.client_id.as_str()),
            (MAC, CLIENT)
        );
    }
    if let Ok(text) = std::str::from_utf8(data)
        && let Some(seconds) = clock::parse(text)
    {
        assert!((0..4_102_444_800).contains(&seconds), "{seconds}");
    }
}
