//! One request, one answer: what the checks say to the server themselves.

use anyhow::{Context, ensure};
use serde_json::Value;

/// An answer, read to its end.
#[derive(Debug)]
pub(crate) struct Answer {
    /// The HTTP status.
    pub(crate) status: u16,
    /// The body.
    pub(crate) body: Vec<u8>,
}

impl Answer {
    /// The body as JSON.
    pub(crate) fn json(&self) -> anyhow::Result<Value> {
        let text = String::from_utf8_lossy(&self.body);
        serde_json::from_str(&text).with_context(|| format!("status {}: {text}", self.status))
    }

    /// The body as JSON, of an answer with the status 200 or 201.
    pub(crate) fn ok(self) -> anyhow::Result<Value> {
        let text = String::from_utf8_lossy(&self.body).into_owned();
        ensure!(matches!(self.status, 200 | 201), "status {}: {text}", self.status);
        self.json()
    }
}

/// One listener of the server, with a secret.
#[derive(Debug, Clone)]
pub(crate) struct Api {
    base: String,
    secret: String,
}

impl Api {
    /// Talks to `base`, for example `http://127.0.0.1:8080`.
    pub(crate) fn new(base: &str, secret: &str) -> Self {
        Self { base: base.to_owned(), secret: secret.to_owned() }
    }

    /// The secret that is sent.
    pub(crate) fn secret(&self) -> &str {
        &self.secret
    }

    /// Sends a GET.
    pub(crate) fn get(&self, path: &str) -> anyhow::Result<Answer> {
        self.send("GET", path, &[], Vec::new())
    }

    /// Sends JSON by POST.
    pub(crate) fn post(&self, path: &str, body: &Value) -> anyhow::Result<Answer> {
        self.send("POST", path, &[("content-type", "application/json")], body.to_string().into())
    }

    /// Sends any request.
    pub(crate) fn send(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: Vec<u8>,
    ) -> anyhow::Result<Answer> {
        let url = format!("{}{path}", self.base);
        let mut request = ureq::http::Request::builder()
            .method(method)
            .uri(&url)
            .header("authorization", format!("Bearer {}", self.secret));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let agent = ureq::Agent::config_builder().http_status_as_error(false).proxy(None);
        let agent = agent.build().new_agent();
        let mut answer =
            agent.run(request.body(body)?).with_context(|| format!("{method} {url}"))?;
        let body = answer.body_mut().read_to_vec().with_context(|| format!("{method} {url}"))?;
        Ok(Answer { status: answer.status().as_u16(), body })
    }
}
