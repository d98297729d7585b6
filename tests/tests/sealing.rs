//! Studies at rest leave a running site's memory, are not read at its start, and come back when something touches them.

use std::time::Duration;

use sulcus_tests::scans::{reports, send, small_series};
use sulcus_tests::serving::{Serving, SiteSpec, count, settled};

const PATIENCE: Duration = Duration::from_secs(60);

#[test]
fn a_late_slice_after_a_restart_finds_its_sealed_study() {
    let work = tempfile::tempdir().unwrap();
    let mut serving = Serving::start(work.path(), SiteSpec { seal_after_seconds: 0.5, ..SiteSpec::default() }).unwrap();
    let slices = small_series(&work.path().join("in"), 21).unwrap();
    let (last, others) = slices.split_last().unwrap();
    send(serving.address(), others).unwrap();
    let sealed = |count_of: usize| move |entries: &[_]| count(entries, "StudySealed") == count_of;
    serving.wait_for("not sealed", PATIENCE, sealed(1)).unwrap();
    assert!(settled(&serving.entries(), 2), "only what is delivered is sealed");
    let (said, _) = serving.command(&["status"]).unwrap();
    assert!(said.contains("0 series of open studies; sealed studies: 1"), "{said}");

    serving.kill_all();
    serving.start_again().unwrap();
    serving.wait_until_listening().unwrap();
    send(serving.address(), std::slice::from_ref(last)).unwrap();
    serving.wait_for("no second result", PATIENCE, |entries| settled(entries, 4)).unwrap();
    let sizes: Vec<u32> =
        reports(&serving.results()).into_iter().map(|(_, report)| report.run.unwrap().size[2]).collect();
    assert_eq!(sizes, [19, 20], "the second was made from all slices");
    serving.wait_for("not sealed again", PATIENCE, sealed(2)).unwrap();
    assert_eq!(count(&serving.entries(), "RunStarted"), 2);
}
