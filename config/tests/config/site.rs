//! What a site may write, and what it is told when it may not.

use std::path::Path;

use sulcus_config::{ConfigError, Destination, Seconds, Site, Source};

use crate::{parse, refused};

fn example(name: &str) -> Site {
    Site::load(&Path::new(env!("CARGO_MANIFEST_DIR")).join("examples").join(name)).unwrap()
}

#[test]
fn an_empty_file_is_a_site_of_defaults() {
    let site = parse("").unwrap();
    assert_eq!(site.receiver.address.to_string(), "127.0.0.1:11112");
    assert_eq!(site.site.data, Path::new("/etc/sulcus/sulcus-data"));
    assert!(site.source_of("ANYONE", [10, 0, 0, 1].into()).is_some());
    assert_eq!(site.devices.len(), 1);
}

#[test]
fn the_small_example_loads_and_its_paths_count_from_its_folder() {
    let site = example("small.toml");
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples");
    assert_eq!(site.site.data, folder.join("small-data"));
    assert_eq!(site.pipelines[0].model, folder.join("../../models/demo"));
    assert!(matches!(site.destination("results"), Some(Destination::Folder(d)) if d.path == folder.join("results")));
}

#[test]
fn the_full_example_loads_and_writes_out_every_default_as_it_is() {
    let site = example("full.toml");
    let bare = parse("").unwrap();
    assert_eq!(site.receiver, bare.receiver);
    assert_eq!(site.sources.len(), 3);
    assert_eq!(site.sources[0].settle_seconds(), Source::any_sender("x").settle_seconds());
    assert_eq!(site.sources[0].idle_seconds(), Source::any_sender("x").idle_seconds());
    assert_eq!(site.destination("pacs").unwrap().retry(), site.destination("results").unwrap().retry());
    assert_eq!(site.source_of("MR7T", [10, 1, 2, 3].into()).unwrap().name, "scanner-7t");
    assert_eq!(site.source_of("PACS ", [10, 9, 9, 9].into()).unwrap().name, "archive");
    assert!(site.source_of("MR7T", [10, 9, 9, 9].into()).is_none());
}

#[test]
fn what_config_show_prints_loads_as_the_same_site() {
    for site in [parse("").unwrap(), example("small.toml"), example("full.toml")] {
        assert_eq!(parse(&site.to_toml().unwrap()).unwrap(), site);
    }
}

#[test]
fn a_missing_file_is_named() {
    let error = Site::load(Path::new("/nowhere/site.toml")).unwrap_err();
    assert!(matches!(&error, ConfigError::Read { .. }));
    assert!(error.to_string().contains("/nowhere/site.toml"));
}

#[test]
fn an_unknown_key_names_its_line_and_the_nearest_valid_key() {
    refused(
        "[site]\nname = \"a\"\n\n[receiver]\nae_titel = \"X\"\n",
        &["5: unknown key \"ae_titel\"; did you mean \"ae_title\"? valid here: address, ae_title, max_associations, \
           max_pdu, max_object_mib, idle_seconds, min_free_mib"],
    );
    refused(
        "[reciever]\n",
        &[
            "1: unknown key \"reciever\"; did you mean \"receiver\"? valid here: site, receiver, runtime, cluster, source, \
           pipeline, destination, device",
        ],
    );
}

#[test]
fn an_unknown_key_of_a_table_with_a_kind_is_found_in_that_table() {
    let text = "[[destination]]\nname = \"a\"\nkind = \"dicom\"\naddress = \"h:1\"\nae_title = \"A\"\n\n\
                [[destination]]\nname = \"b\"\nkind = \"folder\"\nadress = \"h:1\"\npath = \"p\"\n";
    refused(text, &["10: unknown key \"adress\"; valid here: name, path, outputs, retry"]);
    let path_on_dicom = "[[destination]]\nname = \"b\"\nkind = \"folder\"\npath = \"p\"\n\n\
                         [[destination]]\nname = \"a\"\nkind = \"dicom\"\naddress = \"h:1\"\nae_title = \"A\"\npath = \"p\"\n";
    refused(
        path_on_dicom,
        &["11: unknown key \"path\"; valid here: name, address, ae_title, calling_ae_title, outputs, \
           storage_commitment, commitment_seconds, retry"],
    );
}

#[test]
fn an_unknown_kind_or_provider_names_the_known_ones() {
    refused(
        "[[source]]\nname = \"a\"\nkind = \"dicomm\"\n",
        &["3: unknown value \"dicomm\"; did you mean \"dicom\"? valid here: dicom, folder"],
    );
    refused(
        "[[device]]\nname = \"a\"\nprovider = \"openvno\"\n",
        &["3: unknown value \"openvno\"; did you mean \"openvino\"? valid here: openvino, cpu, cuda, tensorrt"],
    );
    refused(
        "[[device]]\nname = \"a\"\nprovider = \"cpu\"\ngpu = 1\n",
        &["4: gpu is 1, and this provider has no GPU; drop it"],
    );
}

#[test]
fn an_unknown_destination_names_the_nearest_known_one() {
    let text = "[[pipeline]]\nname = \"p\"\nwhen = \"true\"\nmodel = \"m\"\ndestinations = [\n  \"pacs\",\n  \"reslts\",\n]\n\
                [[destination]]\nname = \"results\"\nkind = \"folder\"\npath = \"r\"\n";
    refused(
        text,
        &[
            "6: pipeline \"p\" names an unknown destination \"pacs\"; known are results",
            "7: pipeline \"p\" names an unknown destination \"reslts\"; did you mean \"results\"?",
        ],
    );
}

#[test]
fn an_archive_is_asked_for_its_word_only_where_the_site_says_so_and_for_a_time_that_ends() {
    let node = "[[destination]]\nname = \"a\"\nkind = \"dicom\"\naddress = \"h:1\"\nae_title = \"A\"\n";
    let read = |more: &str| match parse(&format!("{node}{more}")).unwrap().destinations.remove(0) {
        Destination::Dicom(node) => (node.storage_commitment, node.commitment_seconds),
        other => panic!("{other:?}"),
    };
    assert_eq!(read(""), (false, Seconds(60.0)));
    assert_eq!(read("storage_commitment = true\ncommitment_seconds = 5\n"), (true, Seconds(5.0)));
    let expected = format!("6: commitment_seconds is 0; give seconds above 0 and at most {}", Seconds::LIMIT);
    refused(&format!("{node}commitment_seconds = 0\n"), &[&expected]);
}

#[test]
fn any_device_may_have_a_limit_on_its_memory() {
    let device = |provider| format!("[[device]]\nname = \"a\"\nprovider = \"{provider}\"\nmemory_mib = 8192\n");
    for provider in ["cpu", "openvino", "cuda", "tensorrt"] {
        assert_eq!(parse(&device(provider)).unwrap().devices[0].memory_mib, 8192);
    }
}

#[test]
fn two_entries_of_one_name_are_refused() {
    refused(
        "[[device]]\nname = \"a\"\nprovider = \"cpu\"\n[[device]]\nname = \"a\"\nprovider = \"cpu\"\n",
        &["5: two entries of [[device]] are named \"a\"; give each its own name"],
    );
}

#[test]
fn a_folder_without_path_is_refused() {
    refused("[site]\n[[source]]\nname = \"a\"\nkind = \"folder\"\n", &["2: missing field `path`"]);
    refused("[[source]]\nname = \"a\"\nkind = \"folder\"\npath = \"\"\n", &["4: path is empty; name a folder"]);
}

#[test]
fn a_watched_folder_that_shares_its_place_with_results_is_refused() {
    let site = |watched: &str, results: &str| {
        format!(
            "[[source]]\nname = \"in\"\nkind = \"folder\"\npath = \"{watched}\"\n\
             [[destination]]\nname = \"out\"\nkind = \"folder\"\npath = \"{results}\"\n"
        )
    };
    let expected = "4: path is the folder of destination \"out\", holds it or lies in it; keep them apart";
    for (watched, results) in
        [("a", "a"), ("a", "a/"), ("a", "./a/results"), ("a/in", "a"), ("/x/a/../b", "/x/b"), ("b/../a", "a/b/..")]
    {
        refused(&site(watched, results), &[expected]);
    }
    for (watched, results) in [("a", "ab"), ("a/in", "a/out"), ("/x/a", "a")] {
        assert!(
            Site::parse(&site(watched, results), Path::new("/etc/sulcus/site.toml")).is_ok(),
            "{watched} {results}"
        );
    }
}

#[cfg(unix)]
#[test]
fn a_link_hides_no_shared_folder() {
    let work = tempfile::tempdir().unwrap();
    std::fs::create_dir(work.path().join("results")).unwrap();
    std::os::unix::fs::symlink(work.path().join("results"), work.path().join("incoming")).unwrap();
    let text = "[[source]]\nname = \"in\"\nkind = \"folder\"\npath = \"incoming/new\"\n\
                [[destination]]\nname = \"out\"\nkind = \"folder\"\npath = \"results\"\n";
    let said = Site::parse(text, &work.path().join("site.toml")).unwrap_err().to_string();
    assert!(said.contains("keep them apart"), "{said}");
}

#[test]
fn a_bad_address_is_refused() {
    refused("[receiver]\naddress = \"localhost\"\n", &["2: invalid socket address syntax"]);
    for address in ["host", "host:", ":104", "host:0", "host:70000", "http://h:1", "::1:104"] {
        let text =
            format!("[[destination]]\nname = \"a\"\nkind = \"dicom\"\nae_title = \"A\"\naddress = \"{address}\"\n");
        let expected = format!("5: address \"{address}\" is not HOST:PORT; write it like \"127.0.0.1:4242\"");
        refused(&text, &[&expected]);
    }
}

#[test]
fn a_fhir_server_is_named_by_its_base_url() {
    let text =
        |url: &str, more: &str| format!("[[destination]]\nname = \"a\"\nkind = \"fhir\"\nurl = \"{url}\"\n{more}");
    for url in ["http://10.0.0.1:8080/fhir", "https://fhir.example", "HTTPS://fhir.example/r4/", "http://[::1]:80/x"] {
        assert!(parse(&text(url, "")).is_ok(), "{url}");
    }
    for url in [
        "",
        "fhir.example",
        "ftp://h/x",
        "http://",
        "http:///x",
        "http://h:0/",
        "http://h:x/",
        "http://h/a b",
        "http://h/x?y=1",
        "http://h/#x",
        "http://::1/x",
    ] {
        let expected = format!(
            "4: url \"{url}\" is no base URL; write it like \"https://fhir.example/r4\", without credentials or query"
        );
        refused(&text(url, ""), &[&expected]);
    }
    let said = parse(&text("https://me:secret@h/x", "")).unwrap_err().to_string();
    assert!(said.contains("no base URL") && !said.contains("secret"), "{said}");
}

#[test]
fn a_token_is_not_sent_in_the_clear() {
    let text = |url: &str| {
        format!("[[destination]]\nname = \"a\"\nkind = \"fhir\"\nurl = \"{url}\"\ntoken_file = \"token\"\n")
    };
    let site = parse(&text("https://fhir.example/r4")).unwrap();
    assert!(matches!(site.destination("a"), Some(Destination::Fhir(to))
        if to.token_file.as_deref() == Some(Path::new("/etc/sulcus/token"))));
    assert!(parse(&text("http://127.0.0.1:8080/fhir")).is_ok());
    refused(&text("http://fhir.example/r4"), &["5: token_file would be sent in the clear over http; use an https url"]);
}

#[test]
fn a_bids_data_set_lies_apart_from_watched_folders() {
    let site = |watched: &str| {
        format!(
            "[[source]]\nname = \"in\"\nkind = \"folder\"\npath = \"{watched}\"\n\
             [[destination]]\nname = \"out\"\nkind = \"bids\"\npath = \"derivatives\"\n"
        )
    };
    assert!(matches!(parse(&site("incoming")).unwrap().destination("out"), Some(Destination::Bids(to))
        if to.path == Path::new("/etc/sulcus/derivatives")));
    let expected = "4: path is the folder of destination \"out\", holds it or lies in it; keep them apart";
    refused(&site("derivatives/sub-1"), &[expected]);
}

#[test]
fn every_broken_rule_is_named_in_one_go() {
    let text = "[receiver]\nmax_associations = 0\nidle_seconds = 0\n\n[[source]]\nname = \"a b\"\nkind = \"dicom\"\n\
                settle_seconds = -1.0\nae_titles = [\"OK\", \"\"]\n";
    refused(
        text,
        &[
            "2: max_associations is 0; give a number from 1 to 1024",
            "3: idle_seconds is 0; give seconds above 0 and at most 604800",
            "6: \"a b\" is no name; use 1 to 64 letters, digits, '-', '_' or '.', not starting with a dot",
            "8: settle_seconds is -1; give seconds above 0 and at most 604800",
            "9: AE title \"\" is blank; use 1 to 16 printable ASCII characters, no backslash",
        ],
    );
    refused("[receiver]\nidle_seconds = nan\n", &["2: idle_seconds is NaN; give seconds above 0 and at most 604800"]);
}

#[test]
fn windows_that_contradict_each_other_are_refused() {
    refused(
        "[[source]]\nname = \"a\"\nkind = \"dicom\"\nidle_seconds = 2\n",
        &["4: idle_seconds is shorter than settle_seconds; make it at least as long"],
    );
    refused(
        "[[destination]]\nname = \"a\"\nkind = \"folder\"\npath = \"p\"\nretry = { first_seconds = 600 }\n",
        &["5: limit_seconds is shorter than first_seconds; make it at least as long"],
    );
}

#[test]
fn what_is_not_toml_is_refused_with_its_line() {
    let message = parse("[site]\nname = \n").unwrap_err().to_string();
    assert!(message.starts_with("/etc/sulcus/site.toml:2: "), "{message}");
}

#[test]
fn seconds_may_have_fractions() {
    let site = parse("[[source]]\nname = \"a\"\nkind = \"dicom\"\nsettle_seconds = 0.25\n").unwrap();
    assert_eq!(site.sources[0].settle_seconds(), Seconds(0.25));
    assert_eq!(site.sources[0].settle_seconds().duration().as_millis(), 250);
}

#[test]
fn the_schema_names_every_table_and_forbids_unknown_keys() {
    let schema = Site::schema();
    let tables: Vec<&String> = schema["properties"].as_object().unwrap().keys().collect();
    assert_eq!(tables, ["cluster", "destination", "device", "pipeline", "receiver", "runtime", "site", "source"]);
    assert_eq!(schema["additionalProperties"], false);
    let kinds = schema["$defs"]["Destination"]["oneOf"].as_array().unwrap();
    assert!(kinds.iter().all(|kind| kind["properties"]["kind"]["const"].is_string()), "{kinds:#?}");
    assert_eq!(kinds.len(), 4);
}

#[test]
fn outputs_that_a_destination_cannot_take_are_refused() {
    let node = "[[destination]]\nname = \"a\"\nkind = \"dicom\"\naddress = \"h:1\"\nae_title = \"A\"\n";
    refused(
        &format!("{node}outputs = [\"segmentation\", \"report\", \"segmentation\"]\nretry = {{ attempts = 0 }}\n"),
        &[
            "6: \"report\" is no DICOM object, and \"a\" takes nothing else; leave it out",
            "6: outputs names \"segmentation\" twice; name it once",
            "7: attempts is 0; give a number from 1 to 1000000",
        ],
    );
    refused(
        &format!("{node}outputs = []\n"),
        &["6: outputs is an empty list; leave it out for what this kind takes by itself"],
    );
    let unknown = parse(&format!("{node}outputs = [\"seg\"]\n")).unwrap_err().to_string();
    assert!(unknown.contains("seg") && unknown.contains("segmentation"), "{unknown}");
}

const MP2RAGE: &str = "[[pipeline]]\nname = \"p\"\nwhen = \"true\"\nmodel = \"three\"\n\
                       [[pipeline.input]]\nname = \"INV1\"\nwhen = \"true\"\n\
                       [[pipeline.input]]\nname = \"INV2\"\nwhen = \"true\"\n";

#[test]
fn a_pipeline_may_read_further_series_and_go_on_without_them() {
    let site = parse(&format!("{MP2RAGE}[pipeline.alone]\nmodel = \"one\"\nafter_seconds = 600\n")).unwrap();
    let pipeline = &site.pipelines[0];
    let names: Vec<&str> = pipeline.inputs.iter().map(|input| input.name.as_str()).collect();
    assert_eq!(names, ["INV1", "INV2"]);
    let alone = pipeline.alone.as_ref().unwrap();
    assert_eq!((alone.model.as_path(), alone.after_seconds), (Path::new("/etc/sulcus/one"), Seconds(600.0)));
    assert_eq!(parse(&site.to_toml().unwrap()).unwrap(), site);
    assert_eq!(parse(MP2RAGE).unwrap().pipelines[0].alone, None);
}

#[test]
fn inputs_that_cannot_be_told_apart_or_have_nothing_to_do_are_refused() {
    refused(
        &format!("{MP2RAGE}[[pipeline.input]]\nname = \"INV1\"\nwhen = \" \"\n"),
        &[
            "12: pipeline \"p\" names two inputs \"INV1\"; give each its own name",
            "13: when is empty; say which series the input may be",
        ],
    );
    refused(
        "[[pipeline]]\nname = \"p\"\nwhen = \"true\"\nmodel = \"m\"\n[pipeline.alone]\nmodel = \"\"\nafter_seconds = 0\n",
        &[
            "5: alone has nothing to do without; add a [[pipeline.input]], or leave it out",
            "6: model is empty; name a folder",
            "7: after_seconds is 0; give seconds above 0 and at most 604800",
        ],
    );
    let many: String = (0..16).map(|n| format!("[[pipeline.input]]\nname = \"i{n}\"\nwhen = \"true\"\n")).collect();
    refused(
        &format!("[[pipeline]]\nname = \"p\"\nwhen = \"true\"\nmodel = \"m\"\n{many}"),
        &["5: 16 inputs are too many; a model reads up to 15"],
    );
}
