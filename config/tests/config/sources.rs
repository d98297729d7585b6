//! What a site may say of whom series come from.

use crate::refused;

#[test]
fn a_bad_ae_title_is_refused() {
    let rest = "use 1 to 16 printable ASCII characters, no backslash";
    for (title, reason) in [
        ("SEVENTEEN-LETTERS", "is longer than 16 characters"),
        ("A\\\\B", "contains a backslash"),
        ("  ", "is blank"),
        ("Köln", "contains a character outside printable ASCII"),
    ] {
        let shown = title.replace("\\\\", "\\");
        refused(
            &format!("[receiver]\nae_title = \"{title}\"\n"),
            &[&format!("2: AE title \"{shown}\" {reason}; {rest}")],
        );
    }
}

#[test]
fn an_archive_that_cannot_be_called_is_refused() {
    let archive = |lines: &str| format!("[[source]]\nname = \"a\"\nkind = \"dicom\"\n[source.archive]\n{lines}");
    refused(
        &archive("address = \"archive\"\nae_title = \"\"\n"),
        &[
            "5: address \"archive\" is not HOST:PORT; write it like \"127.0.0.1:4242\"",
            "6: AE title \"\" is blank; use 1 to 16 printable ASCII characters, no backslash",
        ],
    );
    refused(
        &archive("address = \"127.0.0.1:104\"\nae_title = \"A\"\ncalling_ae_title = \"LONGER THAN SIXTEEN\"\n"),
        &[
            "7: AE title \"LONGER THAN SIXTEEN\" is longer than 16 characters; use 1 to 16 printable ASCII characters, no \
           backslash",
        ],
    );
    refused(&archive("address = \"127.0.0.1:104\"\n"), &["1: missing field `ae_title`"]);
    let folder = "[[source]]\nname = \"a\"\nkind = \"folder\"\npath = \"p\"\n[source.archive]\n";
    refused(folder, &["5: unknown key \"archive\"; valid here: name, path, settle_seconds, idle_seconds"]);
}
