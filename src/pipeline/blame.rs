//! Who is to blame for an answer that names our credential or our configuration: asked of a
//! canary, told to the steward.

use std::pin::Pin;
use std::sync::Arc;

use super::Visit;
use crate::fleet::Event;
use crate::names::CredentialId;
use crate::probe::{CanaryVerdict, Question, Site};
use crate::route::Step;

/// Whether the region takes the credential and has the bucket, so that the answer in question is
/// the client's own.
pub(super) fn canary(visit: &Visit<'_>, step: &Step) -> Pin<Box<dyn Future<Output = bool>>> {
    let Some(question) = question(visit, step) else { return Box::pin(std::future::ready(true)) };
    let canaries = visit.house.canaries.clone();
    let steward = visit.house.exchange.steward.clone();
    let store = visit.house.exchange.credentials.clone();
    let access_point = visit.access_point.name.clone();
    let named = !visit.access_point.is_wildcard();
    Box::pin(async move {
        let (region, credential) = (question.region.clone(), question.credential_id.clone());
        let judged = canaries.judge(question).await;
        let credential =
            |sound| Event::CredentialJudged { region: region.clone(), credential: credential.clone(), sound };
        let configuration = |sound| Event::ConfigurationJudged {
            region: region.clone(),
            access_point: access_point.clone(),
            sound,
        };
        match &judged.verdict {
            CanaryVerdict::Clear => {
                steward.report(credential(true));
                steward.report(configuration(true));
            }
            CanaryVerdict::CredentialFault(code) => {
                if code == "ExpiredToken" {
                    store.hurry();
                }
                steward.report(credential(false));
            }
            CanaryVerdict::ConfigurationFault(_) if named => steward.report(configuration(false)),
            CanaryVerdict::AccessDenied if judged.refused => steward.report(credential(false)),
            CanaryVerdict::ConfigurationFault(_)
            | CanaryVerdict::AccessDenied
            | CanaryVerdict::Unreachable(_)
            | CanaryVerdict::Unasked
            | CanaryVerdict::Unsettled { .. } => {}
        }
        !judged.refused
    })
}

fn question(visit: &Visit<'_>, step: &Step) -> Option<Question> {
    let settings = visit.view.region(&step.region)?;
    let lane = visit.house.exchange.lane(visit.view, &step.region)?;
    let own = visit.sender.own_credential(&step.region);
    let region = || visit.house.exchange.credentials.current(&step.region, &CredentialId::Region);
    Some(Question {
        region: step.region.clone(),
        credential_id: visit.sender.credential_id(&step.region),
        credential: own.or_else(region)?,
        bucket: step.bucket.clone()?,
        key: settings.probe.key.clone(),
        site: Arc::new(Site::new(settings, lane.tls.clone())),
    })
}
