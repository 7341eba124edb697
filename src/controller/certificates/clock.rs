//! How far this machine's clock is from the API server's: a certificate made by a clock that jumped would be refused.

use anyhow::{Context as _, bail};
use kube::Client;
use kube::client::Body;
use time::format_description::well_known::Rfc2822;
use time::{Duration, OffsetDateTime};

/// Differences below it are harmless: certificates are backdated by an hour.
const MOST: Duration = Duration::minutes(30);

/// Ok when `now` is about the API server's time. It is the time by which a certificate was made: what the clock says when the
/// answer comes may be right again.
///
/// # Errors
/// When it is not, or the API server does not tell.
pub(super) async fn check(client: &Client, now: OffsetDateTime) -> anyhow::Result<()> {
    let request = axum::http::Request::get("/version").body(Body::empty())?;
    let response = client.send(request).await?;
    let date = response.headers().get("date").context("the API server does not tell the time")?;
    // RFC 2822 has +0000 where HTTP has GMT; they mean the same.
    let date = OffsetDateTime::parse(&date.to_str()?.replace("GMT", "+0000"), &Rfc2822)?;
    compare(now, date)
}

fn compare(own: OffsetDateTime, theirs: OffsetDateTime) -> anyhow::Result<()> {
    let apart = (own - theirs).abs();
    if apart > MOST {
        bail!(
            "this machine's clock says {own}, the API server's {theirs}: no certificate is made until they are less than {} minutes apart",
            MOST.whole_minutes()
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_jumped_makes_no_certificates() {
        let now = OffsetDateTime::UNIX_EPOCH + Duration::days(20_000);
        assert!(compare(now, now + Duration::minutes(29)).is_ok());
        assert!(compare(now, now - Duration::minutes(31)).is_err());
        assert!(compare(now + Duration::days(300), now).is_err_and(|error| error.to_string().contains("clock")));
    }
}
