//! The validity of a batch. Invalid batches are reported and repeated.

use serde::Serialize;

/// The limits that a batch has to keep.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Limits {
    /// The least that haproxy may cost, as a ratio to nginx.
    pub control_min: f64,
    /// The most that it may cost.
    pub control_max: f64,
    /// CPU time of processes that are not ours, in % of the time of the machine's cores.
    pub foreign_percent: f64,
    /// CPU time that the hypervisor gave to other machines, in % of the time of all cores.
    pub stolen_percent: f64,
}

/// The criteria for a batch.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Conditions {
    /// CPU a request of haproxy, as a ratio to nginx, measured with the batch. Nothing where they
    /// do not both run.
    pub control: Option<f64>,
    /// CPU time of processes that are not ours, in % of the time of the machine's cores.
    pub foreign_percent: f64,
    /// CPU time that the hypervisor gave to other machines, in % of the time of all cores.
    pub stolen_percent: f64,
    /// Units that failed.
    pub failed: u64,
    /// The first failure of each contestant.
    pub failures: Vec<String>,
}

impl Limits {
    /// Returns the reasons for which a batch is void; empty if it counts.
    #[must_use]
    pub fn faults(&self, conditions: &Conditions) -> Vec<String> {
        let mut faults = Vec::new();
        if let Some(control) = conditions.control
            && !(self.control_min..=self.control_max).contains(&control)
        {
            faults.push(format!(
                "haproxy / nginx is {control:.2}, outside {} to {}",
                self.control_min, self.control_max
            ));
        }
        if conditions.foreign_percent > self.foreign_percent {
            faults.push(format!(
                "other processes used {:.1} % CPU",
                conditions.foreign_percent
            ));
        }
        if conditions.stolen_percent > self.stolen_percent {
            faults.push(format!("{:.1} % CPU was stolen", conditions.stolen_percent));
        }
        if conditions.failed > 0 {
            faults.push(format!(
                "{} failed ({})",
                conditions.failed,
                conditions.failures.join("; ")
            ));
        }
        faults
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits {
        control_min: 1.0,
        control_max: 1.25,
        foreign_percent: 3.0,
        stolen_percent: 2.0,
    };

    fn good() -> Conditions {
        Conditions {
            control: Some(1.07),
            foreign_percent: 0.4,
            ..Conditions::default()
        }
    }

    #[test]
    fn a_quiet_batch_counts_also_without_a_control() {
        assert!(LIMITS.faults(&good()).is_empty());
        assert!(
            LIMITS
                .faults(&Conditions {
                    control: None,
                    ..good()
                })
                .is_empty()
        );
    }

    #[test]
    fn a_control_out_of_its_range_makes_it_void() {
        for control in [0.99, 1.26, f64::NAN] {
            assert_eq!(
                LIMITS
                    .faults(&Conditions {
                        control: Some(control),
                        ..good()
                    })
                    .len(),
                1,
                "{control}"
            );
        }
    }

    #[test]
    fn each_disturbance_makes_it_void_and_all_are_named() {
        let conditions = Conditions {
            control: Some(2.0),
            foreign_percent: 3.1,
            stolen_percent: 2.1,
            failed: 1,
            failures: vec!["chp: status 503".to_owned()],
        };
        let faults = LIMITS.faults(&conditions);
        assert_eq!(faults.len(), 4);
        assert_eq!(faults[3], "1 failed (chp: status 503)");
    }
}
