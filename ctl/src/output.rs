//! Output: tables for people, JSON and YAML for programs.

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
use crate::error::CtlError;

pub(crate) use amount::{ago, bytes, milliseconds};
pub(crate) use table::{Column, Table, details, plain};

/// An object that is printed for people, as a row or as a list of details.
pub(crate) trait Tabular: DeserializeOwned {
    /// The columns of a list.
    const COLUMNS: &'static [Column];

    /// Returns the row in a list, with all columns.
    fn cells(&self, now: DateTime<Utc>) -> Vec<String>;

    /// Returns all details, each with a title.
    fn details(&self, now: DateTime<Utc>) -> Vec<(&'static str, String)>;
}

/// Writes results in the format that the user chose.
pub(crate) struct Printer<'a> {
    format: Format,
    clock: fn() -> DateTime<Utc>,
    out: &'a mut dyn Write,
    notes: &'a mut dyn Write,
}

impl<'a> Printer<'a> {
    /// Creates a printer. Ages are relative to the clock.
    pub(crate) fn new(
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

    /// Returns whether the format is for people.
    pub(crate) fn is_for_people(&self) -> bool {
        matches!(self.format, Format::Table | Format::Wide)
    }

    /// Returns the time that ages are relative to.
    pub(crate) fn now(&self) -> DateTime<Utc> {
        (self.clock)()
    }

    /// Prints a list.
    ///
    /// # Errors
    /// If an object has another type, or writing fails.
    pub(crate) fn list<T: Tabular>(&mut self, objects: Vec<Object>) -> Result<(), CtlError> {
        if !self.is_for_people() {
            return self.object(&Object::Sequence(objects));
        }
        let wide = self.format == Format::Wide;
        let (mut table, now) = (Table::new(T::COLUMNS, wide), self.now());
        for object in &objects {
            table.row(read::<T>(object)?.cells(now));
        }
        if objects.is_empty() {
            return self.note("no items");
        }
        self.text(&table.to_string())
    }

    /// Prints one object with its details.
    ///
    /// # Errors
    /// As [`Printer::list`].
    pub(crate) fn one<T: Tabular>(&mut self, object: &Object) -> Result<(), CtlError> {
        if !self.is_for_people() {
            return self.object(object);
        }
        let details = read::<T>(object)?.details(self.now());
        self.text(&table::details(&details))
    }

    /// Prints an object as the API returned it.
    ///
    /// # Errors
    /// If writing fails.
    pub(crate) fn object(&mut self, object: &impl serde::Serialize) -> Result<(), CtlError> {
        if self.format == Format::Yaml {
            serde_yaml::to_writer(&mut self.out, object)
                .map_err(|e| CtlError::Output(io::Error::other(e)))?;
            return Ok(());
        }
        serde_json::to_writer_pretty(&mut self.out, object).map_err(io::Error::from)?;
        writeln!(self.out)?;
        Ok(())
    }

    /// Prints text for people as a part of the result.
    ///
    /// # Errors
    /// If writing fails.
    pub(crate) fn text(&mut self, text: &str) -> Result<(), CtlError> {
        writeln!(self.out, "{}", text.trim_end())?;
        Ok(())
    }

    /// Prints an action's result for people. Programs use the exit code.
    ///
    /// # Errors
    /// As [`Printer::text`].
    pub(crate) fn done(&mut self, text: &str) -> Result<(), CtlError> {
        if self.is_for_people() {
            self.text(&plain(text))
        } else {
            Ok(())
        }
    }

    /// Prints a note for people, which is not a part of the result.
    ///
    /// # Errors
    /// If writing fails.
    pub(crate) fn note(&mut self, text: &str) -> Result<(), CtlError> {
        // Keeps the order of results and notes on a terminal.
        self.out.flush()?;
        // Standard error may be closed.
        let _ = writeln!(self.notes, "app-proxyctl: {}", plain(text));
        Ok(())
    }

    /// Writes buffered output.
    ///
    /// # Errors
    /// If writing fails.
    pub(crate) fn flush(&mut self) -> Result<(), CtlError> {
        self.out.flush()?;
        Ok(())
    }
}
