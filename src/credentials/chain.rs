//! AWS's own credential chain, through `aws-config`.
//!
//! Order: environment, profile (static keys, SSO, process, assumed role, web identity), web
//! identity of the environment, ECS and EKS pod identity, IMDS (version 2).
//!
//! The chain sees the environment without `AWS_ENDPOINT_URL`: where an application is pointed at
//! nearpoint by it, the sidecar beside that application usually inherits it, and the chain would
//! ask nearpoint itself for tokens. Endpoints of one service (`AWS_ENDPOINT_URL_STS`,
//! `AWS_ENDPOINT_URL_SSO`, `AWS_EC2_METADATA_SERVICE_ENDPOINT`, `AWS_CONTAINER_CREDENTIALS_*`)
//! are obeyed. Regions never look at any of them: their endpoints are configured.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::UNIX_EPOCH;

use aws_config::BehaviorVersion;
use aws_credential_types::Credentials;
use aws_credential_types::provider::{ProvideCredentials, SharedCredentialsProvider};
use aws_types::os_shim_internal::Env;

use super::{Chain, ChainFault, Lease};
use crate::names::{AccessKeyId, Secret};
use crate::sigv4::Credential;
use crate::units::UnixSeconds;

/// Variables that would send the chain to whoever serves S3, which may be us.
const IGNORED: [&str; 2] = ["AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3"];

/// The chain, as this process's environment describes it.
#[derive(Debug)]
pub struct AwsChain {
    env: Env,
    /// Kept while it hands out leases that expire: it caches IMDS tokens. Built anew after a
    /// failure, or where what it gave never expires, so that changed profile files are seen.
    provider: Option<SharedCredentialsProvider>,
}

impl AwsChain {
    /// A chain over these variables: the process's own, handed in by whoever may read them.
    pub fn new(env: impl IntoIterator<Item = (String, String)>) -> Self {
        let env: HashMap<_, _> =
            env.into_iter().filter(|(name, _)| !IGNORED.contains(&name.as_str())).collect();
        Self { env: Env::from(env), provider: None }
    }

    async fn provider(&mut self) -> Result<SharedCredentialsProvider, ChainFault> {
        if let Some(provider) = &self.provider {
            return Ok(provider.clone());
        }
        let loaded = aws_config::defaults(BehaviorVersion::latest()).env(self.env.clone()).load().await;
        let provider =
            loaded.credentials_provider().ok_or_else(|| ChainFault("no source is configured".to_owned()))?;
        self.provider = Some(provider.clone());
        Ok(provider)
    }
}

impl Chain for AwsChain {
    async fn fetch(&mut self) -> Result<Lease, ChainFault> {
        let provider = self.provider().await?;
        // until this has worked out, the next fetch begins anew
        self.provider = None;
        let credentials = provider.provide_credentials().await.map_err(|error| ChainFault(causes(&error)))?;
        if credentials.expiry().is_some() {
            self.provider = Some(provider);
        }
        Ok(leased(&credentials))
    }
}

fn leased(credentials: &Credentials) -> Lease {
    let expires = credentials.expiry().map(|at| {
        let seconds = at.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        UnixSeconds(i64::try_from(seconds).unwrap_or(i64::MAX))
    });
    let credential = Credential {
        access_key_id: AccessKeyId::new(credentials.access_key_id()),
        secret: Secret::from(credentials.secret_access_key()),
        session_token: credentials.session_token().map(Secret::from),
    };
    Lease { credential: Arc::new(credential), expires }
}

/// An error with what caused it: the outer ones say little.
fn causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        next = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::stand_in::{Reply, Request, Server};
    use super::*;
    use crate::names::ExposeSecret;

    const EXPIRES: &str = "2099-01-02T03:04:05Z";
    const EXPIRES_AT: UnixSeconds = UnixSeconds(4_071_006_245);

    /// An environment without any of this machine's credentials.
    fn env(folder: &Path, more: &[(&str, &str)]) -> Vec<(String, String)> {
        let file = |name: &str| folder.join(name).to_string_lossy().into_owned();
        let mut env = vec![
            ("HOME".to_owned(), file("home")),
            ("AWS_CONFIG_FILE".to_owned(), file("config")),
            ("AWS_SHARED_CREDENTIALS_FILE".to_owned(), file("credentials")),
            ("AWS_REGION".to_owned(), "eu-central-1".to_owned()),
            // nobody listens on port 1: obeying this fails
            ("AWS_ENDPOINT_URL".to_owned(), "http://127.0.0.1:1".to_owned()),
            ("AWS_ENDPOINT_URL_S3".to_owned(), "http://127.0.0.1:1".to_owned()),
        ];
        env.extend(more.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
        env
    }

    fn assert_leased(lease: &Lease, id: &str) {
        assert_eq!(lease.credential.access_key_id.as_str(), id);
        assert_eq!(lease.credential.secret.expose_secret(), "secret/of+it");
        let token = lease.credential.session_token.as_ref().unwrap();
        assert_eq!(token.expose_secret(), "token==");
        assert_eq!(lease.expires, Some(EXPIRES_AT));
    }

    fn sts(request: &Request) -> Reply {
        let action = ["AssumeRoleWithWebIdentity", "AssumeRole"]
            .into_iter()
            .find(|action| request.body.contains(&format!("Action={action}&")));
        let Some(action) = action else { return Reply::status(400) };
        Reply::xml(format!(
            "<{action}Response xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\"><{action}Result>\
             <Credentials><AccessKeyId>ASIA{}</AccessKeyId><SecretAccessKey>secret/of+it</SecretAccessKey>\
             <SessionToken>token==</SessionToken><Expiration>{EXPIRES}</Expiration></Credentials>\
             <AssumedRoleUser><AssumedRoleId>AROA:np</AssumedRoleId>\
             <Arn>arn:aws:sts::1:assumed-role/np/np</Arn></AssumedRoleUser></{action}Result></{action}Response>",
            action.len()
        ))
    }

    #[tokio::test]
    async fn web_identity_is_exchanged_at_sts() {
        let folder = tempfile::tempdir().unwrap();
        let token = folder.path().join("token");
        std::fs::write(&token, "the.web.token").unwrap();
        let server = Server::start(sts).await;
        let mut chain = AwsChain::new(env(
            folder.path(),
            &[
                ("AWS_WEB_IDENTITY_TOKEN_FILE", token.to_str().unwrap()),
                ("AWS_ROLE_ARN", "arn:aws:iam::1:role/np"),
                ("AWS_ENDPOINT_URL_STS", &server.url()),
            ],
        ));
        assert_leased(&chain.fetch().await.unwrap(), "ASIA25");
        let seen = server.seen();
        assert!(seen[0].body.contains("WebIdentityToken=the.web.token"), "{:?}", seen[0]);
        assert!(seen[0].body.contains("RoleArn=arn%3Aaws%3Aiam%3A%3A1%3Arole%2Fnp"), "{:?}", seen[0]);
    }

    #[tokio::test]
    async fn a_profile_assumes_a_role() {
        let folder = tempfile::tempdir().unwrap();
        let config = "[default]\nrole_arn = arn:aws:iam::1:role/np\nsource_profile = base\n\
                      [profile base]\naws_access_key_id = AKIABASE\naws_secret_access_key = base\n";
        std::fs::write(folder.path().join("config"), config).unwrap();
        let server = Server::start(sts).await;
        let mut chain = AwsChain::new(env(folder.path(), &[("AWS_ENDPOINT_URL_STS", &server.url())]));
        assert_leased(&chain.fetch().await.unwrap(), "ASIA10");
        let authorization = server.seen()[0].header("authorization").unwrap().to_owned();
        assert!(authorization.contains("Credential=AKIABASE/"), "{authorization}");
        assert!(authorization.contains("/eu-central-1/sts/"), "{authorization}");
    }

    fn imds(request: &Request) -> Reply {
        let role = "/latest/meta-data/iam/security-credentials";
        match (request.method.as_str(), request.target.trim_end_matches('/')) {
            ("PUT", "/latest/api/token") => {
                Reply::text("imds-token").with("x-aws-ec2-metadata-token-ttl-seconds", "21600")
            }
            ("GET", _) if request.header("x-aws-ec2-metadata-token") != Some("imds-token") => {
                Reply::status(401)
            }
            ("GET", target) if target == role => Reply::text("np-role"),
            ("GET", target) if target == format!("{role}/np-role") => Reply::json(format!(
                "{{\"Code\":\"Success\",\"LastUpdated\":\"2026-01-01T00:00:00Z\",\"Type\":\"AWS-HMAC\",\
                 \"AccessKeyId\":\"ASIAIMDS\",\"SecretAccessKey\":\"secret/of+it\",\"Token\":\"token==\",\
                 \"Expiration\":\"{EXPIRES}\"}}"
            )),
            _ => Reply::status(404),
        }
    }

    #[tokio::test]
    async fn imds_is_asked_with_a_token() {
        let folder = tempfile::tempdir().unwrap();
        let server = Server::start(imds).await;
        let variables = [("AWS_EC2_METADATA_SERVICE_ENDPOINT", server.url())];
        let variables = variables.each_ref().map(|(name, value)| (*name, value.as_str()));
        let mut chain = AwsChain::new(env(folder.path(), &variables));
        assert_leased(&chain.fetch().await.unwrap(), "ASIAIMDS");
        assert_leased(&chain.fetch().await.unwrap(), "ASIAIMDS");
        let tokens = server.seen().iter().filter(|request| request.method == "PUT").count();
        assert_eq!(tokens, 1, "the provider is kept, and its token with it");
    }

    #[tokio::test]
    async fn a_container_is_asked_with_the_token_of_its_file() {
        let folder = tempfile::tempdir().unwrap();
        let token = folder.path().join("token");
        std::fs::write(&token, "pod-token").unwrap();
        let server = Server::start(|request: &Request| {
            if request.header("authorization") != Some("pod-token") {
                return Reply::status(403);
            }
            Reply::json(format!(
                "{{\"AccessKeyId\":\"ASIAPOD\",\"SecretAccessKey\":\"secret/of+it\",\"Token\":\"token==\",\
                 \"Expiration\":\"{EXPIRES}\"}}"
            ))
        })
        .await;
        let mut chain = AwsChain::new(env(
            folder.path(),
            &[
                ("AWS_CONTAINER_CREDENTIALS_FULL_URI", &format!("{}/creds", server.url())),
                ("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", token.to_str().unwrap()),
            ],
        ));
        assert_leased(&chain.fetch().await.unwrap(), "ASIAPOD");
    }

    #[tokio::test]
    async fn keys_of_a_profile_are_read_again_each_time() {
        let folder = tempfile::tempdir().unwrap();
        let mut chain = AwsChain::new(env(folder.path(), &[("AWS_EC2_METADATA_DISABLED", "true")]));
        for id in ["AKIAONE", "AKIATWO"] {
            let text = format!("[default]\naws_access_key_id = {id}\naws_secret_access_key = s\n");
            std::fs::write(folder.path().join("credentials"), text).unwrap();
            let lease = chain.fetch().await.unwrap();
            assert_eq!(lease.credential.access_key_id.as_str(), id);
            assert_eq!(lease.expires, None);
        }
    }

    #[tokio::test]
    async fn a_process_may_hand_them_out() {
        let folder = tempfile::tempdir().unwrap();
        let answer = format!(
            "{{\"Version\":1,\"AccessKeyId\":\"ASIAPROC\",\"SecretAccessKey\":\"secret/of+it\",\
             \"SessionToken\":\"token==\",\"Expiration\":\"{EXPIRES}\"}}"
        );
        std::fs::write(folder.path().join("answer"), answer).unwrap();
        let config =
            format!("[default]\ncredential_process = cat {}\n", folder.path().join("answer").display());
        std::fs::write(folder.path().join("config"), config).unwrap();
        let mut chain = AwsChain::new(env(folder.path(), &[]));
        assert_leased(&chain.fetch().await.unwrap(), "ASIAPROC");
    }

    #[tokio::test]
    async fn without_any_source_the_fault_says_so_and_no_secret() {
        let folder = tempfile::tempdir().unwrap();
        let mut chain = AwsChain::new(env(
            folder.path(),
            &[("AWS_EC2_METADATA_DISABLED", "true"), ("AWS_SECRET_ACCESS_KEY", "SEKRIT")],
        ));
        let fault = chain.fetch().await.unwrap_err();
        assert!(!fault.0.is_empty() && !fault.0.contains("SEKRIT"), "{fault}");
    }
}
