//! What our own SCU stores arrives, and is answered as the inbox says.

use std::time::{Duration, Instant};

use sulcus_connectors::dimse::scu::{self, ScuError, Storer};
use sulcus_connectors::dimse::sources::SourceRule;
use sulcus_connectors::dimse::status;

use crate::{DEFLATED, EXPLICIT, IMPLICIT, MR, SEG, Server};

fn pattern(length: usize, seed: u8) -> Vec<u8> {
    (0..length).map(|i| (i % 251) as u8 ^ seed).collect()
}

#[test]
fn an_echo_is_answered() {
    let server = Server::start();
    let elapsed = scu::echo(&server.address, "MR7T", "SULCUS", Duration::from_secs(5)).unwrap();
    assert!(elapsed < Duration::from_secs(5));
    assert_eq!(server.ended(1), [("scanner".to_owned(), vec![], true)]);
}

#[test]
fn an_object_arrives_byte_for_byte_at_every_pdu_size() {
    for max_pdu in [4096, 16_384, 131_072] {
        let server = Server::with(|options| options.max_pdu = max_pdu);
        let mut storer = Storer::connect(&server.options()).unwrap();
        let sizes = [2, 4084, 4090, 4092, 131_066, 131_068, 700_000];
        for (i, size) in sizes.into_iter().enumerate() {
            let status = storer.store(MR, &format!("1.2.{i}"), EXPLICIT, &pattern(size, i as u8)).unwrap();
            assert_eq!(status, status::SUCCESS);
        }
        storer.release().unwrap();
        assert_eq!(server.ended(1), [("scanner".to_owned(), vec!["1.2.3".to_owned()], true)]);
        let objects = server.inbox.objects.lock().unwrap();
        for (i, size) in sizes.into_iter().enumerate() {
            assert_eq!(objects[i].data_set, pattern(size, i as u8), "{size} bytes in PDUs of {max_pdu}");
            assert_eq!(objects[i].sop_instance_uid, format!("1.2.{i}"));
        }
    }
}

#[test]
fn each_object_has_the_transfer_syntax_of_its_own_context() {
    let server = Server::start();
    let mut options = server.options();
    let syntaxes = [EXPLICIT, IMPLICIT, DEFLATED].map(str::to_owned).to_vec();
    options.contexts = vec![(MR.to_owned(), syntaxes.clone()), (SEG.to_owned(), syntaxes)];
    let mut storer = Storer::connect(&options).unwrap();
    for (class, syntax) in [(SEG, DEFLATED), (MR, IMPLICIT), (SEG, EXPLICIT)] {
        assert_eq!(storer.store(class, "1.2.3.4", syntax, b"\0\0").unwrap(), status::SUCCESS);
    }
    storer.release().unwrap();
    let objects = server.inbox.objects.lock().unwrap();
    let seen: Vec<_> = objects.iter().map(|o| (o.sop_class_uid.as_str(), o.transfer_syntax.as_str())).collect();
    assert_eq!(seen, [(SEG, DEFLATED), (MR, IMPLICIT), (SEG, EXPLICIT)]);
}

#[test]
fn sixteen_associations_at_once_mix_nothing_up() {
    let server = Server::start();
    std::thread::scope(|scope| {
        for seed in 0..16u8 {
            let options = server.options();
            scope.spawn(move || {
                let mut storer = Storer::connect(&options).unwrap();
                for i in 0..40 {
                    let bytes = pattern(10_000 + 500 * usize::from(seed) + i, seed);
                    let status = storer.store(MR, &format!("1.{seed}.{i}"), EXPLICIT, &bytes).unwrap();
                    assert_eq!(status, status::SUCCESS);
                }
                storer.release().unwrap();
            });
        }
    });
    assert!(server.ended(16).iter().all(|(_, series, orderly)| *orderly && series == &["1.2.3"]));
    let objects = server.inbox.objects.lock().unwrap();
    assert_eq!(objects.len(), 16 * 40);
    for object in objects.iter() {
        let mut parts = object.sop_instance_uid.split('.').skip(1).map(|part| part.parse::<usize>().unwrap());
        let (seed, i) = (parts.next().unwrap(), parts.next().unwrap());
        assert_eq!(object.data_set, pattern(10_000 + 500 * seed + i, seed as u8));
    }
}

#[test]
fn the_inbox_answer_becomes_the_status() {
    let server = Server::start();
    let mut storer = Storer::connect(&server.options()).unwrap();
    let expected = [
        ("901", status::COERCION),
        ("902", status::DATA_SET_DOES_NOT_MATCH),
        ("903", status::OUT_OF_RESOURCES),
        ("904", status::PROCESSING_FAILURE),
        ("1", status::SUCCESS),
    ];
    for (last, status) in expected {
        assert_eq!(storer.store(MR, &format!("1.2.{last}"), EXPLICIT, b"ab").unwrap(), status, "{last}");
    }
    storer.release().unwrap();
}

#[test]
fn an_object_beyond_the_limit_is_refused_and_the_next_one_taken() {
    let server = Server::with(|options| options.max_object_bytes = 300_000);
    let mut storer = Storer::connect(&server.options()).unwrap();
    assert_eq!(storer.store(MR, "1.1", EXPLICIT, &pattern(300_001, 0)).unwrap(), status::OUT_OF_RESOURCES);
    assert_eq!(storer.store(MR, "1.2", EXPLICIT, &pattern(300_000, 0)).unwrap(), status::SUCCESS);
    storer.release().unwrap();
    assert_eq!(server.inbox.objects.lock().unwrap().len(), 1);
}

#[test]
fn what_is_in_flight_is_bounded_over_all_associations() {
    let server = Server::with(|options| options.max_bytes_in_flight = 150_000);
    let options = server.options();
    let slow = std::thread::spawn(move || {
        let mut storer = Storer::connect(&options).unwrap();
        storer.store(MR, "1.906", EXPLICIT, &pattern(100_000, 0)).unwrap()
    });
    while server.open_associations() == 0 {
        std::thread::yield_now();
    }
    std::thread::sleep(Duration::from_millis(200));
    let mut storer = Storer::connect(&server.options()).unwrap();
    assert_eq!(storer.store(MR, "1.1", EXPLICIT, &pattern(100_000, 0)).unwrap(), status::OUT_OF_RESOURCES);
    assert_eq!(slow.join().unwrap(), status::SUCCESS);
    assert_eq!(storer.store(MR, "1.1", EXPLICIT, &pattern(100_000, 0)).unwrap(), status::SUCCESS);
}

#[test]
fn callers_that_no_source_names_are_rejected() {
    let server = Server::with(|options| {
        options.sources = vec![
            SourceRule { calling_ae_titles: vec!["MR7T".to_owned()], ..SourceRule::catch_all("seven") },
            SourceRule {
                calling_ae_titles: vec!["FAR".to_owned()],
                addresses: vec!["10.0.0.1".parse().unwrap()],
                name: "far".to_owned(),
            },
        ];
    });
    let reason = |calling: &str, called: &str| {
        let result = scu::echo(&server.address, calling, called, Duration::from_secs(5));
        match result {
            Ok(_) => "accepted".to_owned(),
            Err(ScuError::Rejected { reason, transient: false }) => reason,
            Err(error) => panic!("{error}"),
        }
    };
    assert_eq!(reason("MR7T", "SULCUS"), "accepted");
    assert_eq!(reason("MR7T", "OTHER"), "called AE title not recognized");
    assert_eq!(reason("UNKNOWN", "SULCUS"), "calling AE title not recognized");
    assert_eq!(reason("FAR", "SULCUS"), "calling AE title not recognized");
    assert_eq!(server.ended(1), [("seven".to_owned(), vec![], true)]);
}

#[test]
fn one_association_too_many_is_told_to_come_again() {
    let server = Server::with(|options| options.max_associations = 2);
    let first = Storer::connect(&server.options()).unwrap();
    let second = Storer::connect(&server.options()).unwrap();
    match Storer::connect(&server.options()).map(|_| ()) {
        Err(error @ ScuError::Rejected { transient: true, .. }) => assert!(error.is_transient()),
        other => panic!("{other:?}"),
    }
    first.release().unwrap();
    second.release().unwrap();
    server.ended(2);
    Storer::connect(&server.options()).unwrap().release().unwrap();
}

#[test]
fn a_refused_context_is_named_in_the_error() {
    let server = Server::start();
    let mut options = server.options();
    let video = "1.2.840.10008.1.2.4.100".to_owned();
    options.contexts = vec![(MR.to_owned(), vec![video.clone()])];
    match Storer::connect(&options).map(|_| ()) {
        Err(ScuError::ContextRefused { sop_class_uid, transfer_syntax }) => {
            assert_eq!((sop_class_uid.as_str(), transfer_syntax), (MR, video));
        }
        other => panic!("{other:?}"),
    }
    let mut storer = Storer::connect(&server.options()).unwrap();
    assert!(matches!(storer.store(SEG, "1.2", EXPLICIT, b"ab"), Err(ScuError::ContextRefused { .. })));
    assert_eq!(storer.store(MR, "1.2", EXPLICIT, b"ab").unwrap(), status::SUCCESS);
}

#[test]
fn a_panic_in_the_inbox_ends_its_association_only() {
    let server = Server::start();
    let mut bystander = Storer::connect(&server.options()).unwrap();
    let mut unlucky = Storer::connect(&server.options()).unwrap();
    assert!(matches!(unlucky.store(MR, "1.2.905", EXPLICIT, b"ab"), Err(ScuError::Aborted)));
    assert_eq!(bystander.store(MR, "1.2", EXPLICIT, b"ab").unwrap(), status::SUCCESS);
    bystander.release().unwrap();
    let ended = server.ended(2);
    assert_eq!(ended.iter().filter(|(_, _, orderly)| *orderly).count(), 1);
    scu::echo(&server.address, "MR7T", "SULCUS", Duration::from_secs(5)).unwrap();
}

#[test]
fn a_stop_ends_idle_associations_and_finishes_what_is_being_stored() {
    let mut server = Server::start();
    let _idle = Storer::connect(&server.options()).unwrap();
    let options = server.options();
    let busy = std::thread::spawn(move || Storer::connect(&options).unwrap().store(MR, "1.906", EXPLICIT, b"ab"));
    while server.open_associations() < 2 {
        std::thread::yield_now();
    }
    std::thread::sleep(Duration::from_millis(200));
    let started = Instant::now();
    server.stop();
    assert!(started.elapsed() < Duration::from_secs(5));
    assert_eq!(busy.join().unwrap().unwrap(), status::SUCCESS);
    assert_eq!(server.ended(2).iter().filter(|(_, _, orderly)| *orderly).count(), 0);
}

#[test]
fn nobody_listening_and_wrong_titles_are_clear_errors() {
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let error = scu::echo(&port.to_string(), "A", "B", Duration::from_secs(2)).unwrap_err();
    assert!(error.to_string().starts_with("cannot connect to 127.0.0.1:"), "{error}");
    for title in ["", " ", "SEVENTEEN_LETTERS", "A\\B", "Ä"] {
        let error = scu::echo(&port.to_string(), title, "B", Duration::from_secs(2)).unwrap_err();
        assert!(matches!(error, ScuError::AeTitle(_)), "{title}: {error}");
    }
}
