//! Validation of an app.

use std::collections::HashSet;

use super::limits::{MAX_ENDPOINTS, MAX_RULES};
use super::{App, AppError, check_labels, check_name};

impl App {
    /// Validates the values that deserialisation accepts.
    ///
    /// # Errors
    /// Returns the first invalid field.
    pub fn validate(&self) -> Result<(), AppError> {
        check_name(&self.name)?;
        self.check_rules()?;
        check_labels("pool", &self.pool)?;
        self.check_endpoints()?;
        let periods = [
            ("timeouts.connect", self.timeouts.connect),
            ("timeouts.read", self.timeouts.read),
            ("idle.after", self.idle.as_ref().map(|idle| idle.after)),
        ];
        match periods
            .iter()
            .find(|(_, period)| period.is_some_and(|period| period.0.is_zero()))
        {
            Some((field, _)) => Err(AppError::new(*field, "longer than 0")),
            None => Ok(()),
        }
    }

    fn check_rules(&self) -> Result<(), AppError> {
        if self.rules.len() > MAX_RULES {
            return Err(AppError::new("match", format!("at most {MAX_RULES}")));
        }
        let mut rules = HashSet::new();
        for (index, rule) in self.rules.iter().enumerate() {
            let fault = |problem| Err(AppError::new(format!("match[{index}]"), problem));
            if rule.path.is_none() && rule.host.is_none() {
                return fault("has neither path nor host");
            }
            if !rules.insert(rule) {
                return fault("is listed twice");
            }
        }
        Ok(())
    }

    fn check_endpoints(&self) -> Result<(), AppError> {
        if self.endpoints.len() > MAX_ENDPOINTS {
            return Err(AppError::new(
                "endpoints",
                format!("at most {MAX_ENDPOINTS}"),
            ));
        }
        let mut addresses = HashSet::new();
        for (index, endpoint) in self.endpoints.iter().enumerate() {
            let fault = |key, problem: String| {
                Err(AppError::new(format!("endpoints[{index}].{key}"), problem))
            };
            if endpoint.weight == 0 {
                return fault(
                    "weight",
                    "0 would never be selected: leave the endpoint out".to_owned(),
                );
            }
            if endpoint.address.port() == Some(0) {
                return fault("address", format!("{} has port 0", endpoint.address));
            }
            if !addresses.insert(&endpoint.address) {
                return fault("address", format!("{} is listed twice", endpoint.address));
            }
        }
        Ok(())
    }
}
