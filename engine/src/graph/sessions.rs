//! The writing ends of the input collections, and to whom what was written belongs: the rows of a study at rest leave
//! the graph together.

use std::collections::HashMap;

use sulcus_operators::digest::Digest;
use timely::dataflow::{
    InputHandleVec, Scope,
    operators::vec::{Input as _, Partition as _},
};

use super::group::{Epoch, Key, Row, Rows, Update};

/// One input collection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Input {
    Arrived,
    Refused,
    Released,
    Fired,
    Directed,
    Rules,
    Rulings,
    Runs,
    Issued,
    Objects,
    Tried,
    Settled,
    Verdicts,
    Alone,
    Departed,
    TakenBack,
    Circles,
    Listed,
}

impl Input {
    /// All of them, each at its own place.
    pub const ALL: [Input; 18] = [
        Input::Arrived,
        Input::Refused,
        Input::Released,
        Input::Fired,
        Input::Directed,
        Input::Rules,
        Input::Rulings,
        Input::Runs,
        Input::Issued,
        Input::Objects,
        Input::Tried,
        Input::Settled,
        Input::Verdicts,
        Input::Alone,
        Input::Departed,
        Input::TakenBack,
        Input::Circles,
        Input::Listed,
    ];
}

/// To whom rows belong.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Owner {
    /// The site.
    Site,
    /// A study, by its UID.
    Study(String),
    /// A run.
    Run(Digest),
}

/// A row with the collection that it is in.
pub(super) type Placed = (Input, Key, Row);

/// The writing end of all input collections: one for all, since each end would be told of each epoch.
pub(super) struct Sessions {
    all: InputHandleVec<Epoch, (Input, Update)>,
    owner: Option<Owner>,
    owned: HashMap<Owner, Vec<Placed>>,
}

impl Sessions {
    /// Makes the input collections, in the order of [`Input::ALL`].
    pub fn new<'scope>(scope: Scope<'scope, Epoch>) -> (Self, Vec<Rows<'scope>>) {
        let (all, changes) = scope.new_input();
        let rows = changes.partition(Input::ALL.len() as u64, |(input, change)| (input as u64, change));
        (Sessions { all, owner: None, owned: HashMap::new() }, rows)
    }

    /// What is put from here on belongs to `owner`; to nobody where there is none.
    pub fn belongs_to(&mut self, owner: Option<Owner>) {
        self.owner = owner;
    }

    /// To whom it belongs.
    pub fn owner(&self) -> Option<&Owner> {
        self.owner.as_ref()
    }

    /// The study to which it belongs; an empty one where it belongs to none, nothing where it belongs to nobody.
    pub fn study(&self) -> Option<&str> {
        self.owner.as_ref().map(|owner| if let Owner::Study(study_uid) = owner { study_uid.as_str() } else { "" })
    }

    /// Puts a row into a collection.
    pub fn put(&mut self, input: Input, key: Key, row: Row) {
        if let Some(owner) = &self.owner {
            match self.owned.get_mut(owner) {
                Some(owned) => owned.push((input, key.clone(), row.clone())),
                None => {
                    self.owned.insert(owner.clone(), vec![(input, key.clone(), row.clone())]);
                }
            }
        }
        self.all.send((input, ((key, row), 1)));
    }

    /// Takes a row of the same owner out again.
    pub fn take(&mut self, input: Input, key: Key, row: Row) {
        if let Some(owned) = self.owner.as_ref().and_then(|owner| self.owned.get_mut(owner)) {
            let same = |placed: &Placed| (placed.0, &placed.1, &placed.2) == (input, &key, &row);
            if let Some(at) = owned.iter().rposition(same) {
                owned.swap_remove(at);
            }
        }
        self.all.send((input, ((key, row), -1)));
    }

    /// Takes out everything that belongs to `owner`, and gives it.
    pub fn forget(&mut self, owner: &Owner) -> Vec<Placed> {
        let owned = self.owned.remove(owner).unwrap_or_default();
        for (input, key, row) in &owned {
            self.all.send((*input, ((key.clone(), row.clone()), -1)));
        }
        owned
    }

    /// Closes the open epoch.
    pub fn advance_to(&mut self, epoch: Epoch) {
        self.all.advance_to(epoch);
    }
}
