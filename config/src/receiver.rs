//! The receiver's own limits: where it listens, and how much it takes.

use std::net::{Ipv4Addr, SocketAddr};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::problems::Checks;
use crate::rules;
use crate::seconds::Seconds;

/// `[receiver]`: the Storage SCP that scanners and archives send to.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Receiver {
    /// Where it listens, `IP:PORT`. Port 0 takes any free port.
    #[schemars(with = "String")]
    pub address: SocketAddr,
    /// Its AE title; an association for another title is refused.
    pub ae_title: String,
    /// Associations open at once; one more is rejected as transient.
    pub max_associations: u16,
    /// The longest PDU that it accepts and announces, in bytes (PS3.8 section 9.3).
    pub max_pdu: u32,
    /// The largest object that it keeps, in MiB; a longer one is refused while it arrives.
    pub max_object_mib: u32,
    /// An association that says nothing for so long is aborted.
    pub idle_seconds: Seconds,
    /// With less free disk than this, in MiB, objects are refused with status 0xA700 (out of resources).
    pub min_free_mib: u32,
}

impl Default for Receiver {
    fn default() -> Self {
        Receiver {
            address: SocketAddr::from((Ipv4Addr::LOCALHOST, 11112)),
            ae_title: "SULCUS".to_owned(),
            max_associations: 32,
            max_pdu: 131_072,
            max_object_mib: 1024,
            idle_seconds: Seconds(60.0),
            min_free_mib: 1024,
        }
    }
}

impl Receiver {
    pub(crate) fn check(&self, checks: &mut Checks<'_>) {
        let mut at = checks.within("receiver");
        rules::ae_title(&mut at, "ae_title", &self.ae_title);
        rules::between(&mut at, "max_associations", u64::from(self.max_associations), 1, 1024);
        rules::between(&mut at, "max_pdu", u64::from(self.max_pdu), 4096, 1 << 20);
        rules::between(&mut at, "max_object_mib", u64::from(self.max_object_mib), 1, 65_536);
        rules::seconds(&mut at, "idle_seconds", self.idle_seconds);
    }
}
