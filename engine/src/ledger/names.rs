//! The names of events, as the ledger stores and shows them.

use super::event::Event;

impl Event {
    /// The event's name as the ledger shows it.
    pub fn name(&self) -> &'static str {
        match self {
            Event::InstanceReceived { .. } => "InstanceReceived",
            Event::InstanceQuarantined { .. } => "InstanceQuarantined",
            Event::InstanceWithdrawn { .. } => "InstanceWithdrawn",
            Event::AssociationReleased { .. } => "AssociationReleased",
            Event::TimerFired(_) => "TimerFired",
            Event::RulesChanged(_) => "RulesChanged",
            Event::RunStarted { .. } => "RunStarted",
            Event::RunFinished(_) => "RunFinished",
            Event::RunFailed { .. } => "RunFailed",
            Event::RunCancelled { .. } => "RunCancelled",
            Event::RevisionIssued { .. } => "RevisionIssued",
            Event::ObjectEncoded { .. } => "ObjectEncoded",
            Event::EncodeFailed { .. } => "EncodeFailed",
            Event::DeliveryStarted { .. } => "DeliveryStarted",
            Event::DeliveryFailed { .. } => "DeliveryFailed",
            Event::DeliverySettled { .. } => "DeliverySettled",
            Event::ResendAsked { .. } => "ResendAsked",
            Event::CommitmentReported { .. } => "CommitmentReported",
            Event::StudySealed { .. } => "StudySealed",
            Event::StudyReopened { .. } => "StudyReopened",
            Event::SealsReviewed { .. } => "SealsReviewed",
            Event::VerdictGiven { .. } => "VerdictGiven",
            Event::SeriesDirected { .. } => "SeriesDirected",
            Event::InstancesListed { .. } => "InstancesListed",
            Event::StepReported { .. } => "StepReported",
            Event::SeriesCounted { .. } => "SeriesCounted",
            Event::PatientsMerged { .. } => "PatientsMerged",
        }
    }
}
