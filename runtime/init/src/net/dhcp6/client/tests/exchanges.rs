//! Each exchange as it should go.

use super::*;

#[test]
fn nothing_is_asked_until_a_router_wants_it() {
    let mut bench = Bench::new();
    assert_eq!(bench.link(false, Ask::Address), []);
    assert_eq!(bench.link(true, Ask::Nothing), []);
    assert_eq!(
        (bench.client.deadline(), bench.client.listens()),
        (None, false)
    );
    assert_eq!(
        sent(&bench.link(true, Ask::Settings)),
        Some(kind::INFORMATION_REQUEST)
    );
    assert!(bench.client.listens());
    assert_eq!(
        sent(&bench.link(true, Ask::Address)),
        Some(kind::SOLICIT),
        "more is wanted"
    );
    assert_eq!(
        bench.link(true, Ask::Nothing),
        [],
        "another router says nothing of it"
    );
    assert_eq!(bench.client.state, State::Soliciting);
    bench.offers(SERVER, ADDRESS, 255);
    let again = bench.refuses(SERVER, status::NOT_ON_LINK);
    assert_eq!(sent(&again), Some(kind::SOLICIT), "it is wanted still");
    assert_eq!(bench.link(false, Ask::Address), []);
    assert_eq!(
        (bench.client.deadline(), bench.client.listens()),
        (None, false)
    );
    assert_eq!(bench.link(true, Ask::Nothing), [], "it is another network");
}

#[test]
fn solicits_are_repeated_less_and_less() {
    let mut bench = Bench::soliciting();
    let xid = bench.client.xid;
    let mut waits = Vec::new();
    for _ in 0..9 {
        let before = bench.now;
        assert_eq!(sent(&bench.step()), Some(kind::SOLICIT));
        waits.push((bench.now - before).as_secs_f64());
    }
    assert_eq!(bench.client.xid, xid);
    for (wait, expected) in waits
        .iter()
        .zip([1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 64.0, 64.0])
    {
        assert!(
            (0.9 * expected * 0.5..=1.1 * expected).contains(wait),
            "{waits:?}"
        );
    }
    // What a server wants counts, even if it has no address (section 18.2.9), within its limits.
    for (seconds, expected) in [(600, 600.0), (59, 600.0), (86_401, 600.0)] {
        let limit = fake::number(option::SOL_MAX_RT, seconds);
        let nothing = fake::status(status::NO_ADDRS_AVAIL);
        assert_eq!(bench.says(kind::ADVERTISE, SERVER, &[limit, nothing]), []);
        for _ in 0..5 {
            bench.step();
        }
        let before = bench.now;
        bench.step();
        let wait = (bench.now - before).as_secs_f64();
        assert!((0.9 * expected..=1.1 * expected).contains(&wait), "{wait}");
    }
}

#[test]
fn a_server_that_is_deaf_to_rapid_commit_is_asked_without_it() {
    let mut bench = Bench::new();
    let mut actions = bench.link(true, Ask::Address);
    let mut asked = Vec::new();
    for _ in 0..3 {
        let options = message(&actions).and_then(|it| Options::read(it.get(4..)?));
        asked.push(options.map(|it| it.get(option::RAPID_COMMIT).is_some()));
        actions = bench.step();
    }
    assert_eq!(asked, [Some(true), Some(false), Some(false)]);
    // A late answer to the first message counts.
    let actions = bench.gives(SERVER, ADDRESS, 60);
    assert!(matches!(actions.as_slice(), [Action::Acquired(_)]));
}

#[test]
fn the_best_offer_is_requested_from_its_server() {
    let mut bench = Bench::soliciting();
    assert_eq!(bench.offers(SERVER, ADDRESS, 3), []);
    assert_eq!(bench.offers(SECOND, OTHER, 4), []);
    assert_eq!(
        bench.offers(b"third server", ADDRESS, 4),
        [],
        "the first of two that are as good"
    );
    let before = bench.now;
    let actions = bench.step();
    assert_eq!(bench.now - before, COLLECT);
    assert_eq!(
        (sent(&actions), addressed(&actions)),
        (Some(kind::REQUEST), Some(SECOND))
    );
    assert_eq!(bench.gives(SERVER, ADDRESS, 60), [], "the other server");
    let actions = bench.gives(SECOND, OTHER, 60);
    assert!(
        matches!(actions.as_slice(), [Action::Acquired(lease)] if lease.held.map(|it| it.address) == Some(OTHER)
            && lease.settings.dns == [DNS]),
        "{actions:?}"
    );
    assert!(!bench.client.listens());
}

#[test]
fn an_offer_by_all_means_or_a_late_one_is_taken_at_once() {
    let mut bench = Bench::soliciting();
    bench.offers(SECOND, OTHER, 254);
    let actions = bench.offers(SERVER, ADDRESS, 255);
    assert_eq!(
        (sent(&actions), addressed(&actions)),
        (Some(kind::REQUEST), Some(SERVER))
    );
    let mut bench = Bench::soliciting();
    bench.step();
    assert_eq!(sent(&bench.offers(SERVER, ADDRESS, 0)), Some(kind::REQUEST));
}

#[test]
fn a_silent_server_is_given_up() {
    let mut bench = Bench::soliciting();
    bench.offers(SERVER, ADDRESS, 255);
    let kinds: Vec<_> = (0..3).map(|_| sent(&bench.step())).collect();
    assert_eq!(
        kinds,
        [
            Some(kind::REQUEST),
            Some(kind::REQUEST),
            Some(kind::SOLICIT)
        ]
    );
}

#[test]
fn a_reply_to_a_solicit_counts_if_it_is_committed() {
    let mut bench = Bench::soliciting();
    let options = [given(ADDRESS, 60)];
    assert_eq!(bench.says(kind::REPLY, SERVER, &options), []);
    assert!(matches!(
        bench.gives(SERVER, ADDRESS, 60).as_slice(),
        [Action::Acquired(_)]
    ));
}

#[test]
fn a_lease_is_renewed_rebound_and_ends() {
    let mut bench = Bench::bound();
    let start = bench.now;
    let actions = bench.step();
    assert_eq!(
        (sent(&actions), addressed(&actions)),
        (Some(kind::RENEW), Some(SERVER))
    );
    assert_eq!(bench.now - start, Duration::from_secs(1000));
    assert_eq!(
        bench.gives(SECOND, ADDRESS, 3600),
        [],
        "another server was not asked"
    );
    let actions = bench.gives(SERVER, ADDRESS, 3600);
    assert!(
        matches!(actions.as_slice(), [Action::Renewed(_)]),
        "{actions:?}"
    );
    let start = bench.now;
    let mut kinds = Vec::new();
    let ended = loop {
        let actions = bench.step();
        match sent(&actions) {
            Some(kind) if actions.len() == 1 => {
                let passed = (bench.now - start).as_secs();
                assert_eq!(kind == kind::REBIND, passed >= 2000, "{passed}");
                assert_eq!(addressed(&actions).is_some(), kind == kind::RENEW);
                if kind == kind::REBIND && !kinds.contains(&kind) {
                    assert_eq!(passed, 2000, "T2 is not slept through");
                }
                kinds.push(kind);
            }
            _ => break actions,
        }
    };
    assert!(
        kinds.len() < 20 && kinds.contains(&kind::REBIND),
        "{kinds:?}"
    );
    assert_eq!(ended.first(), Some(&removed(ADDRESS, Cause::Expired)));
    assert_eq!(sent(&ended), Some(kind::SOLICIT));
    assert_eq!(bench.now - start, Duration::from_secs(3600));
    assert_eq!(bench.client.lease(), None);
}

#[test]
fn a_server_that_forgot_is_asked_to_give_it_again() {
    let mut bench = Bench::bound();
    bench.step();
    let actions = bench.refuses(SERVER, status::NO_BINDING);
    assert_eq!(
        (sent(&actions), addressed(&actions)),
        (Some(kind::REQUEST), Some(SERVER))
    );
    assert!(bench.client.held().is_some(), "it is valid still");
    let actions = bench.gives(SERVER, ADDRESS, 3600);
    assert!(
        matches!(actions.as_slice(), [Action::Renewed(_)]),
        "{actions:?}"
    );
    bench.step();
    bench.refuses(SERVER, status::NO_BINDING);
    let actions = bench.refuses(SERVER, status::NO_ADDRS_AVAIL);
    assert_eq!(actions.first(), Some(&removed(ADDRESS, Cause::Refused)));
}

#[test]
fn an_address_that_is_taken_back_goes_and_another_takes_its_place() {
    let mut bench = Bench::bound();
    bench.step();
    let withdrawn = association(&[fake::address(ADDRESS, 0, 0)]);
    let actions = bench.says(kind::REPLY, SERVER, &[withdrawn]);
    assert_eq!(actions.first(), Some(&removed(ADDRESS, Cause::Refused)));
    assert_eq!(sent(&actions), Some(kind::SOLICIT));
    let mut bench = Bench::bound();
    bench.step();
    let actions = bench.gives(SERVER, OTHER, 3600);
    assert_eq!(actions.first(), Some(&removed(ADDRESS, Cause::Replaced)));
    assert!(matches!(actions.get(1), Some(Action::Acquired(_))));
}

#[test]
fn the_links_return_confirms_the_address() {
    for (answer, expected) in [
        (Some(status::SUCCESS), None),
        (Some(status::NOT_ON_LINK), Some(Cause::Refused)),
        (None, None),
    ] {
        let mut bench = Bench::bound();
        let start = bench.now;
        assert_eq!(bench.link(false, Ask::Nothing), []);
        assert!(bench.client.held().is_some() && !bench.client.listens());
        let actions = bench.link(true, Ask::Address);
        assert_eq!(
            (sent(&actions), addressed(&actions)),
            (Some(kind::CONFIRM), None)
        );
        let actions = match answer {
            Some(code) => bench.says(kind::REPLY, SERVER, &[fake::status(code)]),
            None => {
                while bench.client.listens() {
                    let actions = bench.step();
                    assert!(actions.is_empty() || sent(&actions) == Some(kind::CONFIRM));
                }
                assert_eq!(bench.now - start, Duration::from_secs(10), "CNF_MAX_RD");
                Vec::new()
            }
        };
        match expected {
            Some(cause) => {
                assert_eq!(actions.first(), Some(&removed(ADDRESS, cause)));
                assert_eq!(sent(&actions), Some(kind::SOLICIT));
            }
            None => {
                assert_eq!(bench.client.state, State::Bound);
                bench.step();
                assert_eq!(
                    bench.now - start,
                    Duration::from_secs(1000),
                    "T1 is as it was"
                );
            }
        }
    }
}

#[test]
fn a_lease_ends_without_its_link_too() {
    let mut bench = Bench::bound();
    bench.link(false, Ask::Nothing);
    assert_eq!(bench.step(), [removed(ADDRESS, Cause::Expired)]);
    assert_eq!(bench.client.deadline(), None);
    assert_eq!(sent(&bench.link(true, Ask::Address)), Some(kind::SOLICIT));
}

#[test]
fn an_address_that_another_machine_has_is_declined() {
    let mut bench = Bench::bound();
    let mut pauses = Vec::new();
    for _ in 0..8 {
        let actions = bench.client.conflict(bench.now);
        assert_eq!(actions.first(), Some(&removed(ADDRESS, Cause::Conflict)));
        assert_eq!(
            (sent(&actions), addressed(&actions)),
            (Some(kind::DECLINE), Some(SERVER))
        );
        assert_eq!(bench.says(kind::REPLY, SERVER, &[]), []);
        let before = bench.now;
        assert_eq!(sent(&bench.step()), Some(kind::SOLICIT));
        pauses.push((bench.now - before).as_secs());
        bench.gives(SERVER, ADDRESS, 3600);
    }
    assert!(
        pauses.is_sorted() && pauses.first() == Some(&10),
        "{pauses:?}"
    );
    assert!(
        pauses.last().is_some_and(|last| (48..=64).contains(last)),
        "{pauses:?}"
    );
    // Nobody answers.
    bench.client.conflict(bench.now);
    let kinds: Vec<_> = (0..5).map(|_| sent(&bench.step())).collect();
    let decline = Some(kind::DECLINE);
    assert_eq!(
        kinds,
        [decline, decline, decline, None, Some(kind::SOLICIT)]
    );
    assert_eq!(bench.client.conflict(bench.now), [], "there is no address");
}

#[test]
fn settings_alone_are_refreshed() {
    for (said, expected) in [
        (None, Some(86_400)),
        (Some(7200), Some(7200)),
        (Some(5), Some(600)),
        (Some(u32::MAX), None),
    ] {
        let mut bench = Bench::new();
        bench.link(true, Ask::Settings);
        let mut options = vec![fake::option(option::DNS, &DNS.octets())];
        options.extend(said.map(|seconds| fake::number(option::REFRESH_TIME, seconds)));
        assert_eq!(
            bench.says(kind::ADVERTISE, SERVER, &options),
            [],
            "no Reply"
        );
        let refusal = fake::status(1);
        assert_eq!(
            bench.says(kind::REPLY, SERVER, &[refusal]),
            [],
            "no success"
        );
        let actions = bench.says(kind::REPLY, SERVER, &options);
        assert!(
            matches!(actions.as_slice(), [Action::Informed(lease)] if lease.settings.dns == [DNS] && lease.held.is_none()),
            "{actions:?}"
        );
        assert!(!bench.client.listens());
        let deadline = bench.client.deadline().map(|it| (it - bench.now).as_secs());
        assert_eq!(deadline, expected);
        if expected.is_some() {
            assert_eq!(sent(&bench.step()), Some(kind::INFORMATION_REQUEST));
            assert!(bench.client.lease().is_some(), "they stay meanwhile");
        }
    }
}

#[test]
fn settings_alone_do_not_outlive_their_network() {
    for ask in [Ask::Nothing, Ask::Settings, Ask::Address] {
        let mut bench = Bench::new();
        bench.link(true, Ask::Settings);
        let options = [fake::option(option::DNS, &DNS.octets())];
        let actions = bench.says(kind::REPLY, SERVER, &options);
        assert!(matches!(actions.as_slice(), [Action::Informed(_)]));
        assert_eq!(bench.link(false, Ask::Nothing), []);
        assert!(bench.client.lease().is_some(), "nothing else is known yet");
        assert_eq!(bench.client.deadline(), None);
        let actions = bench.link(true, ask);
        assert_eq!(actions.first(), Some(&Action::Forgotten), "{ask:?}");
        assert_eq!(bench.client.lease(), None);
        let expected = match ask {
            Ask::Nothing => None,
            Ask::Settings => Some(kind::INFORMATION_REQUEST),
            Ask::Address => Some(kind::SOLICIT),
        };
        assert_eq!(sent(&actions), expected);
        assert_eq!(bench.client.listens(), expected.is_some());
        assert_eq!(bench.link(true, ask), [], "once");
    }
}
