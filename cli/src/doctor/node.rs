//! What only logins at an employer's Nuts node need: the node's contract, and an employee.

use ticketapi::engine::examine_node;

use super::{Chain, Finding, words};

/// Has the node draw up a contract as in a login, and shows it to nobody.
pub fn node(chain: &mut Chain<'_>) -> Finding {
    examine_node(&chain.config, chain.cancel).map(Finding::ok).into()
}

pub fn employee(chain: &mut Chain<'_>) -> Finding {
    match &chain.config.employee_identifier {
        Some(identifier) => Finding::ok(words::employee(identifier)),
        None => Finding::not_needed(words::employee_by_program()),
    }
}
