//! The models that a worker holds ready.

use std::{
    path::Path,
    sync::{Arc, atomic::AtomicBool},
};

use sulcus_config::Site;
use sulcus_models::session::Session;
use sulcus_operators::digest::Digest;

use super::run::Compute;
use crate::{lanes::order::Failure, residents::Residents};

/// Models on one device.
pub(super) struct Sessions {
    device: Compute,
    residents: Residents<Session>,
    stop: Arc<AtomicBool>,
}

impl Sessions {
    /// None yet; their tiles are refused while `stop` is set.
    pub(super) fn new(site: &Site, device: Compute, stop: Arc<AtomicBool>) -> Self {
        Sessions { residents: Residents::new(site, device.room), device, stop }
    }

    /// Loads the models of a start.
    pub(super) fn load(&mut self) {
        for package in self.residents.first() {
            if let Err(failure) = self.of(&package, None) {
                // The order that needs it fails with the same words; until then there may be none.
                tracing::error!(model = %package.display(), reason = failure.reason, hint = failure.hint, "model not loaded");
            }
        }
    }

    /// The session of a package, which must hold `model` where one is named.
    pub(super) fn of(&mut self, package: &Path, model: Option<&Digest>) -> Result<&mut Session, Failure> {
        let holds = |session: &Session| model.is_none_or(|model| session.package().digest() == *model);
        let session = match self.residents.take(package).filter(holds) {
            Some(session) => session,
            None => self.open(package)?,
        };
        if !holds(&session) {
            return Err(Failure::surroundings(
                format!("{} holds another model than the rule names", package.display()),
                "put the model package back as it was, or start sulcus again to use what is there",
            ));
        }
        let put = self.residents.put(package, session);
        put.ok_or_else(|| Failure::crash("a model that was just loaded is gone", "restart sulcus"))
    }

    fn open(&mut self, package: &Path) -> Result<Session, Failure> {
        for left in self.residents.make_room(package) {
            tracing::info!(model = %left.display(), "model left, so that there is room for another");
        }
        // What each takes at the least is known; where that was too little, all others leave.
        let mut session = self.device.open(package, || self.residents.leave_alone(package))?;
        session.stop_with(self.stop.clone());
        Ok(session)
    }

    /// Lets all others go, so that this package has all memory; false where it had that.
    pub(super) fn leave_alone(&mut self, package: &Path) -> bool {
        self.residents.leave_alone(package)
    }
}
