//! Several servers at once, some of which lie or say nothing.

use super::*;
use crate::clock::round::Answers;
use crate::clock::sntp::Sample;

/// The number-th server on the loopback.
fn local(number: u8) -> Ipv4Addr {
    Ipv4Addr::new(127, 0, 0, number)
}

#[test]
fn a_server_that_lies_is_outvoted_whoever_is_named_first() -> Outcome {
    isolated(
        "clock::tests::several::a_server_that_lies_is_outvoted_whoever_is_named_first",
        &[],
        async |world| {
            // First, or the servers bind to no address and answer from another one.
            world.loopback().await?;
            let asked = serve_at(local(1), 1, TRUTH + 3600)?;
            let _honest = (serve_at(local(2), 2, TRUTH)?, serve_at(local(3), 2, TRUTH)?);
            lease_with(&world, &[1, 2, 3].map(local)).await?;
            let machine = Fake::at(978_307_200);
            let task = keeper(&world, &machine, settings(0));
            let status = world
                .until("synchronisation", |status| status.clock.synchronized)
                .await?;
            assert_eq!(machine.now().div_euclid(NANOSECONDS), TRUTH);
            assert_eq!(status.clock.source, "ntp 127.0.0.2");
            task.abort();
            // The same when it is right already, and all of them are waited for.
            let mut keeper = asker(&world, &machine);
            round(&mut keeper).await;
            let answers = keeper.ask(&keeper.to_ask()).await;
            assert_eq!(answers.good.len(), 3);
            assert_eq!(keeper.judge(answers).await, Round::Done);
            assert_eq!(machine.now().div_euclid(NANOSECONDS), TRUTH);
            assert!(*asked.lock().unwrap_or_else(PoisonError::into_inner) >= 1);
            Ok(())
        },
    )
}

#[test]
fn servers_that_do_not_answer_hold_nothing_up() -> Outcome {
    isolated(
        "clock::tests::several::servers_that_do_not_answer_hold_nothing_up",
        &[],
        async |world| {
            world.loopback().await?;
            let _asked = serve_at(local(3), 2, TRUTH)?;
            // Nobody reads from these.
            let _mute = [1, 2].map(|number| UdpSocket::bind((local(number), sntp::PORT)));
            lease_with(&world, &[1, 2, 3].map(local)).await?;
            let machine = Fake::at(0);
            let mut keeper = asker(&world, &machine);
            let answers = keeper.ask(&keeper.to_ask()).await;
            assert_eq!(answers.good.len(), 1);
            // It might have been a liar, so the others are asked again soon.
            assert_eq!(keeper.judge(answers).await, Round::Hasty);
            assert_eq!(machine.now().div_euclid(NANOSECONDS), TRUTH);
            assert_eq!(round(&mut keeper).await, Round::Done);
            // Of two, one is enough.
            let mut keeper = asker(&world, &Fake::at(0));
            let answers = keeper.ask(&[2, 3].map(|it| local(it).to_string())).await;
            assert_eq!(answers.good.len(), 1);
            assert_eq!(keeper.judge(answers).await, Round::Hasty);
            // Two of three agree, and the third's link has no address yet.
            let mut keeper = asker(&world, &Fake::at(0));
            let sample = Sample {
                offset: TRUTH * NANOSECONDS,
                delay: Duration::ZERO,
                root: Duration::ZERO,
            };
            let answers = || Answers {
                good: [2, 3].map(|it| (local(it).to_string(), sample)).into(),
                asked: 3,
            };
            assert_eq!(keeper.judge(answers()).await, Round::Hasty);
            // One that is down is asked for once more, not for ever.
            assert_ne!(keeper.judge(answers()).await, Round::Hasty);
            Ok(())
        },
    )
}

#[test]
fn of_two_that_disagree_the_clock_follows_the_first_and_then_itself() -> Outcome {
    isolated(
        "clock::tests::several::of_two_that_disagree_the_clock_follows_the_first_and_then_itself",
        &[],
        async |world| {
            world.loopback().await?;
            let _first = serve_at(local(1), 2, TRUTH)?;
            let _second = serve_at(local(2), 1, TRUTH - 3600)?;
            lease_with(&world, &[1, 2].map(local)).await?;
            let machine = Fake::at(0);
            let mut keeper = asker(&world, &machine);
            assert_eq!(round(&mut keeper).await, Round::Hasty);
            assert_eq!(machine.now(), TRUTH * NANOSECONDS);
            assert_eq!(round(&mut keeper).await, Round::Done);
            assert_eq!(machine.with(|hands| hands.slewed.len()), 1);
            // Neither is borne out any longer: nothing happens, however often they say it.
            machine.with(|hands| hands.now += 60 * NANOSECONDS);
            for _ in 0..3 {
                assert_eq!(round(&mut keeper).await, Round::Failed);
            }
            assert_eq!(machine.now(), (TRUTH + 60) * NANOSECONDS);
            Ok(())
        },
    )
}

#[test]
fn of_a_name_with_several_addresses_one_that_refuses_is_left_alone() -> Outcome {
    isolated(
        "clock::tests::several::of_a_name_with_several_addresses_one_that_refuses_is_left_alone",
        &[],
        async |world| {
            world.loopback().await?;
            let refusing = serve_at(local(1), 0, TRUTH)?;
            let _honest = serve_at(local(2), 2, TRUTH)?;
            // Nobody listens at the last one.
            let addresses = |numbers: &[u8]| {
                let addresses = numbers.iter().map(|it| (local(*it), sntp::PORT).into());
                addresses.collect::<Vec<_>>()
            };
            let machine = Fake::at(TRUTH);
            let refusals = Refusals::default();
            let ask = |numbers: &[u8]| {
                let (addresses, refusals, machine) = (addresses(numbers), &refusals, &machine);
                async move { exchange::ask_any(machine, addresses, refusals).await }
            };
            for _ in 0..3 {
                let who = ask(&[1, 2]).await.map(|(address, _)| address);
                assert!(who.is_ok_and(|it| it == local(2)));
                let result = ask(&[1, 3]).await;
                assert!(matches!(result, Err(exchange::Error::Unreachable(_))));
                let result = ask(&[3, 1]).await;
                assert!(matches!(result, Err(exchange::Error::Unreachable(_))));
            }
            let result = ask(&[1]).await;
            assert!(matches!(result, Err(exchange::Error::LeftAlone)));
            assert_eq!(*refusing.lock().unwrap_or_else(PoisonError::into_inner), 1);
            // That others refuse takes no turn from those that do not.
            let many = [3, 4, 5, 6, 7].map(local);
            for refusing in many {
                refusals.refused(refusing.into(), *b"RATE");
            }
            let who = ask(&[3, 4, 5, 6, 7, 2]).await.map(|(address, _)| address);
            assert!(who.is_ok_and(|it| it == local(2)));
            Ok(())
        },
    )
}
