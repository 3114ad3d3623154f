//! How results look: tables for people, JSON and YAML for programs.

mod amount;
mod app;
mod session;
mod table;
mod worker;

use std::io::{self, Write};

use chrono::{DateTime, Utc};
use serde::de::DeserializeOwned;

use crate::api::{Object, read};
use crate::cli::Format;
use crate::failure::CtlError;

pub use amount::{ago, bytes, milliseconds};
pub use table::{Column, Table, details, plain};

/// What can be shown to people.
pub trait Shown: DeserializeOwned {
    /// What a list of it has for columns.
    const COLUMNS: &'static [Column];

    /// Its row in a list, with all columns.
    fn cells(&self, now: DateTime<Utc>) -> Vec<String>;

    /// All that there is to say about it, each with its title.
    fn details(&self, now: DateTime<Utc>) -> Vec<(&'static str, String)>;
}

/// Where results go, and how they look.
pub struct Printer<'a> {
    format: Format,
    clock: fn() -> DateTime<Utc>,
    out: &'a mut dyn Write,
    notes: &'a mut dyn Write,
}

impl<'a> Printer<'a> {
    /// A printer; ages count from what the clock says.
    pub fn new(
        format: Format,
        clock: fn() -> DateTime<Utc>,
        out: &'a mut dyn Write,
        notes: &'a mut dyn Write,
    ) -> Self {
        Self {
            format,
            clock,
            out,
            notes,
        }
    }

    /// Whether people read the result, and not a program.
    #[must_use]
    pub fn is_for_people(&self) -> bool {
        matches!(self.format, Format::Table | Format::Wide)
    }

    /// The time that ages count from.
    #[must_use]
    pub fn now(&self) -> DateTime<Utc> {
        (self.clock)()
    }

    /// A list.
    ///
    /// # Errors
    /// When an object is not what it should be, or nothing can be written.
    pub fn list<T: Shown>(&mut self, objects: Vec<Object>) -> Result<(), CtlError> {
        if !self.is_for_people() {
            return self.object(&Object::Sequence(objects));
        }
        let wide = self.format == Format::Wide;
        let (mut table, now) = (Table::new(T::COLUMNS, wide), self.now());
        for object in &objects {
            table.row(read::<T>(object)?.cells(now));
        }
        if objects.is_empty() {
            return self.note("there are none");
        }
        self.text(&table.to_string())
    }

    /// One object, with all that there is to say about it.
    ///
    /// # Errors
    /// As [`Printer::list`].
    pub fn one<T: Shown>(&mut self, object: &Object) -> Result<(), CtlError> {
        if !self.is_for_people() {
            return self.object(object);
        }
        let details = read::<T>(object)?.details(self.now());
        self.text(&table::details(&details))
    }

    /// An object as the API has it.
    ///
    /// # Errors
    /// When nothing can be written.
    pub fn object(&mut self, object: &impl serde::Serialize) -> Result<(), CtlError> {
        if self.format == Format::Yaml {
            serde_yaml::to_writer(&mut self.out, object)
                .map_err(|e| CtlError::Output(io::Error::other(e)))?;
            return Ok(());
        }
        serde_json::to_writer_pretty(&mut self.out, object).map_err(io::Error::from)?;
        writeln!(self.out)?;
        Ok(())
    }

    /// Text for people, which is part of the result.
    ///
    /// # Errors
    /// When nothing can be written.
    pub fn text(&mut self, text: &str) -> Result<(), CtlError> {
        writeln!(self.out, "{}", text.trim_end())?;
        Ok(())
    }

    /// What has been done, for people; a program sees that from the exit code.
    ///
    /// # Errors
    /// As [`Printer::text`].
    pub fn done(&mut self, what: &str) -> Result<(), CtlError> {
        if self.is_for_people() {
            self.text(&plain(what))
        } else {
            Ok(())
        }
    }

    /// What people should know and is no part of the result.
    ///
    /// # Errors
    /// When nothing can be written.
    pub fn note(&mut self, what: &str) -> Result<(), CtlError> {
        // Results that come before it are to be seen before it.
        self.out.flush()?;
        // Nobody may be listening there.
        let _ = writeln!(self.notes, "app-proxyctl: {}", plain(what));
        Ok(())
    }

    /// Writes what is still held back.
    ///
    /// # Errors
    /// When that cannot be.
    pub fn flush(&mut self) -> Result<(), CtlError> {
        self.out.flush()?;
        Ok(())
    }
}
