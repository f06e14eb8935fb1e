//! A connection to one repository of a hub: addresses, redirections, refusals, patience.

use std::time::Duration;

use http::{HeaderMap, StatusCode, header};
use serde::de::DeserializeOwned;
use url::Url;

use super::error::HubError;
use super::reference::Reference;
use super::{Event, Watch};
use crate::client::{Secret, is_loopback};

/// How long a connection may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(20);
/// How long nothing may come before the connection counts as dead.
const READ_TIMEOUT: Duration = Duration::from_secs(60);
/// How often an answer may send us elsewhere: hub, its cache, its storage, and some to spare.
const REDIRECTS_MAX: usize = 6;
/// How often in a row something may fail.
const TRIES_MAX: u32 = 5;
/// The pause after the first failure; it doubles with each that follows.
const PAUSE: Duration = Duration::from_secs(1);
/// The longest pause that a hub may ask for and get. For more, the person is told instead.
const RETRY_AFTER_S_MAX: u64 = 60;
/// The longest document of the hub that is read into memory.
pub(super) const JSON_BYTES_MAX: u64 = 16 << 20;

/// One repository of a hub.
#[derive(Debug, Clone)]
pub(crate) struct Repository {
    agent: ureq::Agent,
    endpoint: Url,
    token: Option<Secret>,
    reference: Reference,
    pause: Duration,
}

/// An answer whose head has arrived: 200, 206 or 416.
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: ureq::Body,
    /// Who sent it.
    pub(super) host: String,
}

/// Why one try failed.
pub(super) enum Failure {
    /// It would fail again.
    Final(HubError),
    /// It may work in a while: at least so many seconds, where the hub has said so. Whether the try
    /// has brought something, and so does not count as one in vain.
    Passing { error: HubError, retry_after_s: Option<u64>, advanced: bool },
}

impl Failure {
    /// A failure that says nothing about the next try.
    pub(super) fn passing(host: &str, reason: &impl ToString) -> Self {
        let error = HubError::Unavailable { host: host.to_owned(), reason: reason.to_string() };
        Self::Passing { error, retry_after_s: None, advanced: false }
    }
}

impl From<HubError> for Failure {
    fn from(error: HubError) -> Self {
        Self::Final(error)
    }
}

impl Repository {
    /// A connection to the repository on the hub at `endpoint`, such as `https://huggingface.co`.
    /// Plain HTTP is for hubs on this machine only: it would show the token, and its answers could
    /// be anybody's.
    pub(crate) fn new(
        endpoint: &str,
        token: Option<Secret>,
        reference: Reference,
    ) -> Result<Self, HubError> {
        let wrong = |reason| HubError::Endpoint { url: endpoint.to_owned(), reason };
        let url: Url = endpoint.parse().or(Err(wrong("it is no address")))?;
        let host = url.host_str().ok_or_else(|| wrong("it names no host"))?;
        let here = is_loopback(host);
        match url.scheme() {
            "https" => {}
            "http" if here => {}
            _ => return Err(wrong("it must begin with https://")),
        }
        if !url.username().is_empty() || url.password().is_some() || url.query().is_some() {
            return Err(wrong("it must be a host and a path alone"));
        }
        let mut config = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .timeout_connect(Some(CONNECT_TIMEOUT))
            .timeout_per_read(Some(READ_TIMEOUT))
            .user_agent(concat!("emberbox/", env!("CARGO_PKG_VERSION")));
        if here {
            // A proxy of the environment is for other machines, never for this one.
            config = config.proxy(None);
        }
        let agent = config.build().new_agent();
        Ok(Self { agent, endpoint: url, token, reference, pause: PAUSE })
    }

    /// The same without pauses between tries.
    #[cfg(test)]
    pub(super) fn without_pauses(mut self) -> Self {
        self.pause = Duration::ZERO;
        self
    }

    /// The model that is meant.
    pub(crate) fn reference(&self) -> &Reference {
        &self.reference
    }

    /// An address of the hub's API about this repository.
    pub(super) fn api(&self, what: &str, revision: &str) -> Result<Url, HubError> {
        let (org, name) = (self.reference.org.as_str(), self.reference.name.as_str());
        self.url(["api", "models", org, name, what, revision].into_iter())
    }

    /// The address of a file.
    pub(super) fn file(&self, commit: &str, path: &str) -> Result<Url, HubError> {
        let (org, name) = (self.reference.org.as_str(), self.reference.name.as_str());
        self.url([org, name, "resolve", commit].into_iter().chain(path.split('/')))
    }

    fn url<'a>(&self, segments: impl Iterator<Item = &'a str>) -> Result<Url, HubError> {
        let mut url = self.endpoint.clone();
        match url.path_segments_mut() {
            Ok(mut path) => path.pop_if_empty().extend(segments),
            // An address with a host, as was checked, always takes segments.
            Err(()) => return Err(HubError::Refused("an address takes no path".to_owned())),
        };
        Ok(url)
    }

    /// The page about the model, for a person.
    fn page(&self) -> String {
        let endpoint = self.endpoint.as_str().trim_end_matches('/');
        format!("{endpoint}/{}", self.reference)
    }

    /// Tries until it works, fails for good, or has failed too often in a row.
    pub(super) fn patiently<T>(
        &self,
        watch: &dyn Watch,
        mut attempt: impl FnMut() -> Result<T, Failure>,
    ) -> Result<T, HubError> {
        let mut failed = 0;
        loop {
            let (error, retry_after_s, advanced) = match attempt() {
                Ok(value) => return Ok(value),
                Err(Failure::Final(error)) => return Err(error),
                Err(Failure::Passing { error, retry_after_s, advanced }) => {
                    (error, retry_after_s, advanced)
                }
            };
            failed = if advanced { 1 } else { failed + 1 };
            if failed >= TRIES_MAX || retry_after_s.is_some_and(|wait_s| wait_s > RETRY_AFTER_S_MAX)
            {
                return Err(error);
            }
            let pause = self.pause * 2_u32.pow(failed - 1);
            let pause = retry_after_s.map_or(pause, Duration::from_secs);
            watch.see(&Event::Again(&error, u64::try_from(pause.as_millis()).unwrap_or(u64::MAX)));
            wait(pause);
        }
    }

    /// Gets a JSON document, and the query of the page after it where there is one.
    pub(super) fn json<T: DeserializeOwned>(
        &self,
        url: &Url,
        watch: &dyn Watch,
    ) -> Result<(T, Option<String>), HubError> {
        self.patiently(watch, || {
            let answer = self.get(url, 0)?;
            let next = next_query(&answer.headers, url);
            let bytes = read_whole(answer, JSON_BYTES_MAX)?;
            let document = serde_json::from_slice(&bytes).map_err(|error| {
                HubError::Refused(format!("{} is not as expected: {error}", url.path()))
            })?;
            Ok((document, next))
        })
    }

    /// Gets an address, from a byte on, wherever the hub sends us. The token is for the hub alone:
    /// where its files lie is somebody else's server, which has no business with it.
    pub(super) fn get(&self, url: &Url, from: u64) -> Result<Answer, Failure> {
        let mut url = url.clone();
        for _ in 0..=REDIRECTS_MAX {
            let ours = url.origin() == self.endpoint.origin();
            let mut request = http::Request::get(url.as_str());
            // Ranges and hashes are over the file itself, not over some compression of it.
            request = request.header(header::ACCEPT_ENCODING, "identity");
            if from > 0 {
                request = request.header(header::RANGE, format!("bytes={from}-"));
            }
            if let Some(token) = self.token.as_ref().filter(|_| ours) {
                let bearer = token.bearer().or(Err(HubError::Token))?;
                request = request.header(header::AUTHORIZATION, bearer);
            }
            let host = authority(&url);
            let request = request.body(()).map_err(|error| {
                HubError::Refused(format!("an address on {host} cannot be asked for: {error}"))
            })?;
            let response =
                self.agent.run(request).map_err(|error| Failure::passing(&host, &error))?;
            let (head, body) = response.into_parts();
            if head.status.is_redirection() {
                url = self.follow(&url, &head.headers)?;
                continue;
            }
            let answer = Answer { status: head.status, headers: head.headers, body, host };
            return self.accept(answer, ours);
        }
        let error = HubError::Refused(format!("it redirects more than {REDIRECTS_MAX} times"));
        Err(error.into())
    }

    /// Where a redirection leads, if one may go there.
    fn follow(&self, from: &Url, headers: &HeaderMap) -> Result<Url, HubError> {
        let location = headers.get(header::LOCATION).and_then(|value| value.to_str().ok());
        let url = location.and_then(|location| from.join(location).ok()).ok_or_else(|| {
            HubError::Refused(format!("{} redirects to no address", authority(from)))
        })?;
        // A hub on this machine may keep its files beside it. Any other must not send us here, nor
        // anywhere without encryption.
        let beside = self.endpoint.scheme() == "http"
            && url.scheme() == "http"
            && url.host_str().is_some_and(is_loopback);
        if url.scheme() == "https" || beside {
            return Ok(url);
        }
        let (from, to) = (authority(from), authority(&url));
        Err(HubError::Refused(format!("{from} redirects to {}://{to}: not https", url.scheme())))
    }

    fn accept(&self, answer: Answer, ours: bool) -> Result<Answer, Failure> {
        let status = answer.status;
        let retry_after_s = text(&answer.headers, "retry-after").and_then(|s| s.parse().ok());
        match status.as_u16() {
            200 | 206 | 416 => Ok(answer),
            // Links to the storage are signed and expire; the hub gives a new one.
            401 | 403 if !ours => {
                Err(Failure::passing(&answer.host, &format!("the link was refused ({status})")))
            }
            401 | 403 => Err(self.denied(&answer).into()),
            404 => Err(self.not_found(&answer.headers).into()),
            429 => {
                let error = HubError::Busy { host: answer.host, retry_after_s };
                Err(Failure::Passing { error, retry_after_s, advanced: false })
            }
            408 | 500..=599 => {
                let error = HubError::Unavailable {
                    host: answer.host,
                    reason: format!("answered {status}"),
                };
                Err(Failure::Passing { error, retry_after_s, advanced: false })
            }
            _ => {
                let reason = format!("answered {status}");
                Err(HubError::Unavailable { host: answer.host, reason }.into())
            }
        }
    }

    /// The hub says 401 also for what does not exist, lest anybody learn what is private.
    fn denied(&self, answer: &Answer) -> HubError {
        let what = match text(&answer.headers, "x-error-code") {
            Some("GatedRepo") => "is gated: its owner wants terms to be accepted first",
            Some("DisabledRepo") => "has been disabled by the hub",
            _ if self.token.is_some() => "does not exist, or this token may not read it",
            _ => "does not exist, or is not public",
        };
        HubError::Denied {
            what: format!("{} {what} ({})", self.reference, answer.status.as_u16()),
            page: self.page(),
            with_token: self.token.is_some(),
        }
    }

    fn not_found(&self, headers: &HeaderMap) -> HubError {
        let reference = &self.reference;
        HubError::NotFound(match text(headers, "x-error-code") {
            Some("RevisionNotFound") => {
                format!("{reference} has no revision {}", reference.revision)
            }
            Some("EntryNotFound") => format!("a file that {reference} lists is not there"),
            _ => format!("{reference} is not on {}", authority(&self.endpoint)),
        })
    }
}

/// A whole body, at most so many bytes of it.
pub(super) fn read_whole(answer: Answer, bytes_max: u64) -> Result<Vec<u8>, Failure> {
    let host = answer.host;
    match answer.body.into_with_config().limit(bytes_max).read_to_vec() {
        Ok(bytes) => Ok(bytes),
        Err(ureq::Error::BodyExceedsLimit(_)) => {
            Err(HubError::Refused(format!("a document is over {bytes_max} bytes")).into())
        }
        Err(error) => Err(Failure::passing(&host, &error)),
    }
}

/// A header as text.
pub(super) fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

/// The query of the next page, from `Link: <URL>; rel="next"` (RFC 8288). Only the query: mirrors
/// hand out the links of the hub that they mirror, and nobody may send us elsewhere with the token.
fn next_query(headers: &HeaderMap, url: &Url) -> Option<String> {
    let links = text(headers, "link")?;
    let next = links.split(',').find(|link| link.contains("rel=\"next\""))?;
    let (_, target) = next.split_once('<')?;
    let (target, _) = target.split_once('>')?;
    Some(url.join(target).ok()?.query()?.to_owned())
}

/// Host and port, without anything secret.
fn authority(url: &Url) -> String {
    let host = url.host_str().unwrap_or("nowhere");
    url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
}

#[expect(
    clippy::disallowed_methods,
    reason = "a pause that another server needs; there is nothing to wait for, and Ctrl-C ends it"
)]
fn wait(pause: Duration) {
    std::thread::sleep(pause);
}
