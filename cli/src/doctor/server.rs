//! The way to the identity service, with the steps of a login and nothing of a login in them.

use std::net::{IpAddr, TcpStream};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use ticketapi::Result;
use ticketapi::engine::server;
use ticketapi::http::{Probe, Secured};
use ticketapi::{Config, ErrorKind};

use super::{Chain, Finding, words};

/// How far the clocks may be apart. The server's time comes in whole seconds, over a network that may be slow.
struct Tolerance {
    noticeable: Duration,
    too_much: Duration,
}

/// The broker's role assertions are valid from three minutes before they are made.
const BROKER: Tolerance = Tolerance { noticeable: Duration::from_secs(60), too_much: Duration::from_secs(180) };

/// Times in ID tokens may be 60 seconds off.
const PROVIDER: Tolerance = Tolerance { noticeable: Duration::from_secs(30), too_much: Duration::from_secs(60) };

/// What has been opened so far.
#[derive(Default)]
pub struct ServerFacts {
    stream: Option<Arc<TcpStream>>,
    secured: Option<Secured>,
}

fn probe(config: &Config) -> Result<Probe> {
    Ok(Probe::new(server(config)?, config.into()))
}

pub fn name(chain: &mut Chain<'_>) -> Finding {
    let look = || -> Result<Finding> {
        let address = server(&chain.config)?;
        if address.host().parse::<IpAddr>().is_ok() {
            return Ok(Finding::not_needed(words::address(address.host())));
        }
        let probe = probe(&chain.config)?;
        if let Some(proxy) = probe.proxy()? {
            return Ok(Finding::not_needed(words::resolved_by(&proxy)));
        }
        let found = probe.find(chain.cancel)?;
        Ok(Finding::ok(words::resolved(address.host(), &found)))
    };
    look().into()
}

pub fn connection(chain: &mut Chain<'_>) -> Finding {
    let mut look = || -> Result<Finding> {
        let probe = probe(&chain.config)?;
        let stream = probe.connect(chain.cancel)?;
        let peer = stream.peer_addr().map(|peer| peer.to_string());
        let peer = peer.or_else(|_| server(&chain.config).map(|server| server.to_string()))?;
        chain.server.stream = Some(stream);
        Ok(Finding::ok(match probe.proxy()? {
            Some(proxy) => words::connected_through(&proxy, &server(&chain.config)?),
            None => words::connected(&peer),
        }))
    };
    look().into()
}

pub fn tls(chain: &mut Chain<'_>) -> Finding {
    let mut look = || -> Result<Finding> {
        let probe = probe(&chain.config)?;
        let stream = chain.server.stream.take().map_or_else(|| probe.connect(chain.cancel), Ok)?;
        let (secured, shown) = probe.secure(stream, chain.cancel);
        Ok(match secured {
            Ok(secured) => {
                chain.server.secured = Some(secured);
                if server(&chain.config)?.is_tls() {
                    Finding::ok(words::tls(shown.as_ref()))
                } else {
                    Finding::not_needed(words::no_tls())
                }
            }
            Err(error) if matches!(error.kind(), ErrorKind::Tls | ErrorKind::TlsNotSupported) => {
                Finding::failed(error.kind().clone(), words::tls_refused(error.detail(), shown.as_ref()))
            }
            Err(error) => error.into(),
        })
    };
    look().into()
}

pub fn clock(chain: &mut Chain<'_>) -> Finding {
    let tolerance = if chain.in_browser() { PROVIDER } else { BROKER };
    let (config, cancel) = (&chain.config, chain.cancel);
    let look = |secured| -> Result<Finding> {
        let date = probe(config)?.date(secured, cancel)?;
        let theirs = date.and_then(|date| httpdate::parse_http_date(&date).ok());
        Ok(theirs.map_or_else(no_time, |theirs| compare(SystemTime::now(), theirs, tolerance)))
    };
    chain.server.secured.take().map_or_else(no_time, |secured| look(secured).into())
}

fn no_time() -> Finding {
    Finding::warning(words::clock_unknown(), words::CLOCK_REMEDY)
}

fn compare(ours: SystemTime, theirs: SystemTime, tolerance: Tolerance) -> Finding {
    let (skew, ahead) = match ours.duration_since(theirs) {
        Ok(skew) => (skew, true),
        Err(behind) => (behind.duration(), false),
    };
    if skew <= tolerance.noticeable {
        return Finding::ok(words::clock_agrees());
    }
    let sentence = words::clock(skew, ahead);
    if skew <= tolerance.too_much {
        Finding::warning(sentence, words::CLOCK_REMEDY)
    } else {
        Finding::failed(ErrorKind::Configuration, sentence).with_remedy(words::CLOCK_REMEDY)
    }
}

#[cfg(test)]
mod tests {
    use super::super::Verdict;
    use super::*;

    #[test]
    fn clocks_may_be_a_minute_apart_and_the_brokers_three() {
        let ours = SystemTime::now();
        let second = Duration::from_secs(1);
        for (skew, broker, provider) in [
            (30, Verdict::Ok, Verdict::Ok),
            (31, Verdict::Ok, Verdict::Warning),
            (60, Verdict::Ok, Verdict::Warning),
            (61, Verdict::Warning, Verdict::Failed),
            (181, Verdict::Failed, Verdict::Failed),
        ] {
            for theirs in [ours + second * skew, ours - second * skew] {
                assert_eq!(compare(ours, theirs, BROKER).verdict, broker, "{skew:?}");
                assert_eq!(compare(ours, theirs, PROVIDER).verdict, provider, "{skew:?}");
            }
        }
        assert_eq!(
            compare(ours, ours - second * 181, BROKER).sentence,
            "this computer's clock is 3 minutes ahead of the server's"
        );
    }
}
