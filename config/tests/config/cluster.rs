//! What a site may say of the other hosts of its cluster.

use crate::{parse, refused};

#[test]
fn hosts_of_a_cluster_have_a_name_and_an_address_each() {
    let cluster = |host: &str, port: u16, peer: &str, address: &str| {
        format!(
            "[cluster]\nhost = \"{host}\"\naddress = \"127.0.0.1:{port}\"\n[[cluster.peer]]\nname = \"{peer}\"\naddress = \"{address}\"\n"
        )
    };
    let site = parse(&cluster("a", 7410, "b", "127.0.0.2:7410")).unwrap().cluster.unwrap();
    assert_eq!((site.host.as_str(), site.peers[0].name.as_str()), ("a", "b"));
    refused(
        &cluster("a", 0, "a", "127.0.0.1:0"),
        &[
            "3: address has port 0; name the port that the other hosts are told",
            "5: two hosts of the cluster are named \"a\"; give each its own name",
            "6: address is this host's own; name the other host's",
        ],
    );
    refused(&cluster("a b", 7410, "", "b:7"), &["6: invalid socket address syntax"]);
}
