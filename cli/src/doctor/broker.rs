//! The way to the broker, with the steps of a login and nothing of a login in them.

use std::net::{IpAddr, TcpStream};
use std::time::{Duration, SystemTime};

use ticketapi::Result;
use ticketapi::http::{Probe, Secured};
use ticketapi::{Config, ErrorKind};

use super::{Chain, Finding, words};

/// The broker's time comes in whole seconds, over a network that may be slow.
const NOTICEABLE: Duration = Duration::from_secs(60);

/// The broker's role assertions are valid from three minutes before they are made.
const TOO_MUCH: Duration = Duration::from_secs(180);

/// What has been opened so far.
#[derive(Default)]
pub struct Found {
    stream: Option<TcpStream>,
    secured: Option<Secured>,
}

fn probe(config: &Config) -> Result<Probe> {
    Ok(Probe::new(config.broker()?, config.into()))
}

pub fn name(chain: &mut Chain<'_>) -> Finding {
    let look = || -> Result<Finding> {
        let address = chain.config.broker()?;
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
        let peer = peer.or_else(|_| chain.config.broker().map(|broker| broker.to_string()))?;
        chain.broker.stream = Some(stream);
        Ok(Finding::ok(match probe.proxy()? {
            Some(proxy) => words::connected_through(&proxy, &chain.config.broker()?),
            None => words::connected(&peer),
        }))
    };
    look().into()
}

pub fn tls(chain: &mut Chain<'_>) -> Finding {
    let mut look = || -> Result<Finding> {
        let probe = probe(&chain.config)?;
        let stream = chain.broker.stream.take().map_or_else(|| probe.connect(chain.cancel), Ok)?;
        let (secured, shown) = probe.secure(stream, chain.cancel);
        Ok(match secured {
            Ok(secured) => {
                chain.broker.secured = Some(secured);
                if chain.config.broker()?.is_tls() {
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
    let look = |secured| -> Result<Finding> {
        let date = probe(&chain.config)?.date(secured, chain.cancel)?;
        let theirs = date.and_then(|date| httpdate::parse_http_date(&date).ok());
        Ok(theirs.map_or_else(no_time, |theirs| compare(SystemTime::now(), theirs)))
    };
    chain.broker.secured.take().map_or_else(no_time, |secured| look(secured).into())
}

fn no_time() -> Finding {
    Finding::warning(words::clock_unknown(), words::CLOCK_REMEDY)
}

fn compare(ours: SystemTime, theirs: SystemTime) -> Finding {
    let (skew, ahead) = match ours.duration_since(theirs) {
        Ok(skew) => (skew, true),
        Err(behind) => (behind.duration(), false),
    };
    if skew <= NOTICEABLE {
        return Finding::ok(words::clock_agrees());
    }
    let sentence = words::clock(skew, ahead);
    if skew <= TOO_MUCH {
        Finding::warning(sentence, words::CLOCK_REMEDY)
    } else {
        Finding::failed(ErrorKind::Configuration, sentence).with_remedy(words::CLOCK_REMEDY)
    }
}

#[cfg(test)]
mod tests {
    use super::super::State;
    use super::*;

    #[test]
    fn clocks_may_be_a_minute_apart_and_must_not_be_more_than_three() {
        let ours = SystemTime::now();
        let second = Duration::from_secs(1);
        for (skew, state) in [(second * 60, State::Ok), (second * 61, State::Warning), (second * 181, State::Failed)] {
            for theirs in [ours + skew, ours - skew] {
                assert_eq!(compare(ours, theirs).state, state, "{skew:?}");
            }
        }
        assert_eq!(
            compare(ours, ours - second * 181).sentence,
            "this computer's clock is 3 minutes ahead of the broker's"
        );
    }
}
