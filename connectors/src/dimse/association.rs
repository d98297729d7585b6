//! Association establishment (PS3.8 7.1, PS3.7 annex D), both sides, on the PDUs of `dicom-ul`.
//!
//! Who may call is decided by `sources`, what is stored by `service` and `scu`.

use std::net::IpAddr;

use dicom_ul::pdu::{
    AssociationAC, AssociationRJ, AssociationRJResult, AssociationRJServiceProviderASCEReason,
    AssociationRJServiceProviderPresentationReason, AssociationRJServiceUserReason as UserReason, AssociationRJSource,
    AssociationRQ, Pdu, PresentationContextProposed, PresentationContextResult, PresentationContextResultReason,
    RequestorRoles, UserVariableItem,
};

use super::accept::{self, VERIFICATION, trim_uid};
use super::commitment::STORAGE_COMMITMENT;
use super::data_sets;
use super::message::MIN_PEER_PDU;
use super::scu::ScuError;
use super::sources::SourceRule;
use super::steps::PERFORMED_STEP;
use super::wire::{Wire, WireError, kind};
use super::{IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME};

/// DICOM Application Context Name (PS3.7 annex A).
const APPLICATION_CONTEXT: &str = "1.2.840.10008.3.1.1.1";
/// Presentation context ids are odd and one byte wide.
pub(crate) const MAX_CONTEXTS: usize = 128;

/// A presentation context of an established association.
#[derive(Clone, Debug)]
pub(crate) struct Context {
    pub(crate) id: u8,
    pub(crate) abstract_syntax: String,
    /// The one transfer syntax agreed; empty where the peer refused the context.
    pub(crate) transfer_syntax: String,
}

/// Asks for an association with one presentation context for each (abstract syntax, transfer syntax). Returns the accepted
/// contexts and the peer's Maximum Length.
pub(crate) fn request(
    wire: &mut Wire,
    calling_ae_title: &str,
    called_ae_title: &str,
    proposals: &[(String, String)],
    max_pdu: u32,
) -> Result<(Vec<Context>, u32), ScuError> {
    let ids = (1..=u8::MAX).step_by(2);
    let proposed: Vec<_> = ids
        .zip(proposals)
        .map(|(id, (abstract_syntax, transfer_syntax))| PresentationContextProposed {
            id,
            abstract_syntax: abstract_syntax.clone(),
            transfer_syntaxes: vec![transfer_syntax.clone()],
        })
        .collect();
    wire.send_pdu(&Pdu::AssociationRQ(AssociationRQ {
        protocol_version: 1,
        calling_ae_title: calling_ae_title.to_owned(),
        called_ae_title: called_ae_title.to_owned(),
        application_context_name: APPLICATION_CONTEXT.to_owned(),
        presentation_contexts: proposed.clone(),
        user_variables: user_variables(max_pdu),
    }))?;
    let header = wire.pdu_header()?;
    if !matches!(header.kind, kind::ASSOCIATE_AC | kind::ASSOCIATE_RJ | kind::ABORT) {
        return Err(WireError::unexpected("the answer to an association request is none").into());
    }
    let answer = match wire.pdu(header)? {
        Pdu::AssociationAC(answer) => answer,
        Pdu::AssociationRJ(rejection) => {
            let transient = rejection.result == AssociationRJResult::Transient;
            return Err(ScuError::Rejected { reason: rejection.source.to_string(), transient });
        }
        _ => return Err(ScuError::Aborted),
    };
    let contexts = proposed
        .into_iter()
        .filter(|context| {
            answer.presentation_contexts.iter().any(|result| {
                result.id == context.id
                    && result.reason == PresentationContextResultReason::Acceptance
                    && context.transfer_syntaxes.iter().any(|uid| uid == trim_uid(&result.transfer_syntax))
            })
        })
        .map(|context| Context {
            id: context.id,
            abstract_syntax: context.abstract_syntax,
            transfer_syntax: context.transfer_syntaxes.into_iter().next().unwrap_or_default(),
        })
        .collect();
    Ok((contexts, max_length(&answer.user_variables)?))
}

/// An association that was let in.
#[derive(Clone, Debug)]
pub(crate) struct Accepted {
    /// Name of the source in the site's configuration.
    pub(crate) source: String,
    pub(crate) calling_ae_title: String,
    /// The accepted contexts.
    pub(crate) contexts: Vec<Context>,
    /// True where it may ask for storage commitment.
    pub(crate) asks: bool,
    pub(crate) peer_max_pdu: u32,
}

/// What an association request is judged by.
#[derive(Clone, Debug)]
pub(crate) struct Admission<'a> {
    pub(crate) ae_title: &'a str,
    pub(crate) sources: &'a [SourceRule],
    /// Destinations that may call to report storage commitments, and for nothing else.
    pub(crate) reporters: &'a [SourceRule],
    pub(crate) max_pdu: u32,
    /// All places are taken: whoever asks is told to come again.
    pub(crate) full: bool,
}

/// How an association request ended without an association.
#[derive(Debug)]
pub(crate) enum NotAccepted {
    /// The connection failed, or what came is no association request.
    Wire(WireError),
    /// A-ASSOCIATE-RJ was sent.
    Rejected { calling_ae_title: String, reason: String },
}

impl From<WireError> for NotAccepted {
    fn from(error: WireError) -> Self {
        NotAccepted::Wire(error)
    }
}

/// Reads an association request and answers it.
pub(crate) fn accept(wire: &mut Wire, peer: IpAddr, admission: &Admission<'_>) -> Result<Accepted, NotAccepted> {
    let header = wire.pdu_header()?;
    match header.kind {
        kind::ASSOCIATE_RQ => {}
        kind::ASSOCIATE_AC..=kind::ABORT => {
            return Err(WireError::unexpected("the first PDU is no association request").into());
        }
        _ => return Err(WireError::unrecognised("what came is not DICOM").into()),
    }
    let Pdu::AssociationRQ(request) = wire.pdu(header)? else {
        return Err(WireError::unexpected("the first PDU is no association request").into());
    };
    match judge(&request, peer, admission) {
        Ok((source, admitted)) => {
            let reports = reports_commitment(&request.user_variables);
            let (contexts, results) = negotiate(&request.presentation_contexts, admitted, reports)?;
            let mut variables = user_variables(admission.max_pdu);
            if reports && contexts.iter().any(|context| context.abstract_syntax == STORAGE_COMMITMENT) {
                let roles = RequestorRoles { scu: false, scp: true };
                variables.push(UserVariableItem::ScuScpRoleSelectionSubItem(STORAGE_COMMITMENT.to_owned(), roles));
            }
            let peer_max_pdu = max_length(&request.user_variables)?;
            wire.send_pdu(&Pdu::AssociationAC(AssociationAC {
                protocol_version: 1,
                calling_ae_title: request.calling_ae_title.clone(),
                called_ae_title: request.called_ae_title,
                application_context_name: APPLICATION_CONTEXT.to_owned(),
                presentation_contexts: results,
                user_variables: variables,
            }))?;
            let source = source.to_owned();
            let asks = !reports && admitted == Admitted::Source;
            Ok(Accepted { source, calling_ae_title: request.calling_ae_title, contexts, asks, peer_max_pdu })
        }
        Err(rejection) => {
            let reason = rejection.source.to_string();
            wire.send_pdu(&Pdu::AssociationRJ(rejection))?;
            Err(NotAccepted::Rejected { calling_ae_title: request.calling_ae_title, reason })
        }
    }
}

/// What a caller may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Admitted {
    /// Store, and report.
    Source,
    /// Report alone.
    Reporter,
}

/// Whether the requestor proposes to be the SCP of storage commitment (PS3.7 D.3.3.4): it calls to report.
fn reports_commitment(variables: &[UserVariableItem]) -> bool {
    variables.iter().any(|item| {
        matches!(item, UserVariableItem::ScuScpRoleSelectionSubItem(uid, roles)
            if trim_uid(uid) == STORAGE_COMMITMENT && roles.scp)
    })
}

/// Who calls and what for, or why it may not.
fn judge<'a>(
    request: &AssociationRQ,
    peer: IpAddr,
    admission: &Admission<'a>,
) -> Result<(&'a str, Admitted), AssociationRJ> {
    let permanent = |source| AssociationRJ { result: AssociationRJResult::Permanent, source };
    let user = |reason| permanent(AssociationRJSource::ServiceUser(reason));
    if request.protocol_version & 1 == 0 {
        let reason = AssociationRJServiceProviderASCEReason::ProtocolVersionNotSupported;
        return Err(permanent(AssociationRJSource::ServiceProviderASCE(reason)));
    }
    if trim_uid(&request.application_context_name) != APPLICATION_CONTEXT {
        return Err(user(UserReason::ApplicationContextNameNotSupported));
    }
    if request.called_ae_title != admission.ae_title {
        return Err(user(UserReason::CalledAETitleNotRecognized));
    }
    let find = |rules, as_what| SourceRule::find(rules, &request.calling_ae_title, peer).map(|name| (name, as_what));
    let caller = find(admission.sources, Admitted::Source)
        .or_else(|| find(admission.reporters, Admitted::Reporter))
        .ok_or_else(|| user(UserReason::CallingAETitleNotRecognized))?;
    if admission.full {
        return Err(AssociationRJ {
            result: AssociationRJResult::Transient,
            source: AssociationRJSource::ServiceProviderPresentation(
                AssociationRJServiceProviderPresentationReason::LocalLimitExceeded,
            ),
        });
    }
    Ok(caller)
}

/// Answers each proposed context: the accepted ones, and the results in the order proposed. Storage commitment is taken
/// from who `reports` it, and from a source, which may ask for it; steps from a source.
fn negotiate(
    proposed: &[PresentationContextProposed],
    admitted: Admitted,
    reports: bool,
) -> Result<(Vec<Context>, Vec<PresentationContextResult>), WireError> {
    let mut accepted: Vec<Context> = Vec::new();
    let mut results: Vec<PresentationContextResult> = Vec::new();
    for context in proposed {
        // Ids are odd (PS3.8 9.3.2.2), which also bounds the list at 128.
        if context.id % 2 == 0 || results.iter().any(|result| result.id == context.id) {
            return Err(WireError::invalid("a presentation context id is even or used twice"));
        }
        let abstract_syntax = trim_uid(&context.abstract_syntax);
        let commitment = abstract_syntax == STORAGE_COMMITMENT && (reports || admitted == Admitted::Source);
        let stores = accept::is_storage(abstract_syntax) && admitted == Admitted::Source;
        let steps = abstract_syntax == PERFORMED_STEP && admitted == Admitted::Source;
        let known = abstract_syntax == VERIFICATION || stores || commitment || steps;
        let chosen = match commitment || steps {
            true => data_sets::choose_transfer_syntax(&context.transfer_syntaxes),
            false => accept::choose_transfer_syntax(&context.transfer_syntaxes),
        };
        let (reason, transfer_syntax) = match chosen {
            _ if !known => (PresentationContextResultReason::AbstractSyntaxNotSupported, None),
            None => (PresentationContextResultReason::TransferSyntaxesNotSupported, None),
            Some(uid) => (PresentationContextResultReason::Acceptance, Some(uid)),
        };
        if let Some(uid) = transfer_syntax {
            accepted.push(Context {
                id: context.id,
                abstract_syntax: abstract_syntax.to_owned(),
                transfer_syntax: uid.to_owned(),
            });
        }
        // Of a refused context the transfer syntax is not significant, but must be there.
        let transfer_syntax = transfer_syntax.unwrap_or(dicom_dictionary_std::uids::IMPLICIT_VR_LITTLE_ENDIAN);
        results.push(PresentationContextResult { id: context.id, reason, transfer_syntax: transfer_syntax.to_owned() });
    }
    Ok((accepted, results))
}

fn user_variables(max_pdu: u32) -> Vec<UserVariableItem> {
    vec![
        UserVariableItem::MaxLength(max_pdu),
        UserVariableItem::ImplementationClassUID(IMPLEMENTATION_CLASS_UID.to_owned()),
        UserVariableItem::ImplementationVersionName(IMPLEMENTATION_VERSION_NAME.to_owned()),
    ]
}

/// The peer's Maximum Length, 0 for none. A limit too small for any fragment is a protocol error.
fn max_length(variables: &[UserVariableItem]) -> Result<u32, WireError> {
    let length = variables.iter().find_map(|item| match item {
        UserVariableItem::MaxLength(length) => Some(*length),
        _ => None,
    });
    match length.unwrap_or(0) {
        1..MIN_PEER_PDU => Err(WireError::invalid("the peer's maximum PDU length is too small")),
        length => Ok(length),
    }
}
