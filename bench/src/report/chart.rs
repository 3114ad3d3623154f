//! The chart: for each workload the ratio to nginx of App-Proxy, haproxy and bare Pingora.

use anyhow::{Result, anyhow};
use plotters::coord::Shift;
use plotters::coord::types::RangedCoordf64;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use super::Report;
use super::summary::Summary;
use crate::batch::BASELINE;
use crate::goals::GOALS;
use crate::metric::Metric;

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;
type Plot<'a> = DrawingArea<SVGBackend<'a>, Cartesian2d<RangedCoordf64, RangedCoordf64>>;

const SIZE: (u32, u32) = (1200, 560);
/// Space around the plot: left, right, top, bottom.
const MARGINS: (i32, i32, i32, i32) = (60, 20, 90, 60);

/// The contestants with bars, and their colours.
const SERIES: [(&str, RGBColor); 3] = [
    ("app-proxy", RGBColor(33, 102, 172)),
    ("haproxy", RGBColor(146, 197, 222)),
    ("pingora", RGBColor(188, 188, 188)),
];
const AT_LEAST: RGBColor = RGBColor(178, 24, 43);
const GOAL: RGBColor = RGBColor(27, 120, 55);
const INK: RGBColor = RGBColor(51, 51, 51);

/// The width of a bar, where a workload has the width 1.
const BAR: f64 = 0.26;

/// The chart as SVG.
pub(super) fn svg(report: &Report) -> Result<String> {
    let mut text = String::new();
    {
        let area = SVGBackend::with_string(&mut text, SIZE).into_drawing_area();
        draw(&area, report).map_err(|fault| anyhow!("the chart cannot be drawn: {fault}"))?;
        area.present()
            .map_err(|fault| anyhow!("the chart cannot be drawn: {fault}"))?;
    }
    Ok(text)
}

type Drawn = Result<(), Box<dyn std::error::Error + Send + Sync>>;

fn draw(area: &Area<'_>, report: &Report) -> Drawn {
    area.fill(&WHITE)?;
    let groups: Vec<&Summary> = report
        .workloads
        .iter()
        .filter(|summary| belongs(summary))
        .collect();
    let top = scale(&groups);
    let (width, height) = (i32::try_from(SIZE.0)?, i32::try_from(SIZE.1)?);
    let (left, right, above, below) = MARGINS;
    let coordinates = Cartesian2d::<RangedCoordf64, RangedCoordf64>::new(
        0.0..f64::from(u32::try_from(groups.len().max(1))?),
        0.0..top,
        (left..width - right, height - below..above),
    );
    let plot = area.apply_coord_spec(coordinates);
    legend(area, report)?;
    grid(&plot, groups.len(), top)?;
    for (index, summary) in groups.iter().enumerate() {
        group(&plot, f64::from(u32::try_from(index)?), summary)?;
    }
    let line = [(0.0, 1.0), (f64::from(u32::try_from(groups.len())?), 1.0)];
    plot.draw(&PathElement::new(line, INK.stroke_width(2)))?;
    for (index, summary) in groups.iter().enumerate() {
        marks(
            &plot,
            f64::from(u32::try_from(index)?) + (1.0 - BAR * 3.0) / 2.0,
            summary,
        )?;
    }
    Ok(())
}

/// Returns whether a workload's figure is the CPU time relative to nginx.
fn belongs(summary: &Summary) -> bool {
    summary.baseline == BASELINE && matches!(summary.main_metric(), Metric::Cpu | Metric::CpuGib)
}

/// Returns the end of the axis: above every bar and mark.
fn scale(groups: &[&Summary]) -> f64 {
    let bars = groups.iter().flat_map(|summary| {
        let drawn = summary
            .rows
            .iter()
            .filter(|row| SERIES.iter().any(|(name, _)| *name == row.name));
        drawn
            .filter_map(|row| row.ratios.get(&summary.main_metric()))
            .map(|spread| spread.median)
    });
    (bars.fold(2.0, f64::max) * 1.08 * 2.0).ceil() / 2.0
}

fn legend(area: &Area<'_>, report: &Report) -> Drawn {
    let at = Pos::new(HPos::Left, VPos::Center);
    let quick = if report.quick { " (a quick run)" } else { "" };
    let title = format!("CPU time of two hops, as a ratio to nginx → nginx{quick}");
    area.draw(&Text::new(title, (20, 26), style(20).pos(at)))?;
    let mut x = 20;
    for (name, colour) in SERIES {
        area.draw(&Rectangle::new([(x, 52), (x + 14, 66)], colour.filled()))?;
        area.draw(&Text::new(name, (x + 20, 59), style(14).pos(at)))?;
        x += 110;
    }
    for (name, colour) in [("at least", AT_LEAST), ("goal", GOAL), ("nginx = 1", INK)] {
        area.draw(&PathElement::new(
            [(x, 59), (x + 24, 59)],
            colour.stroke_width(3),
        ))?;
        area.draw(&Text::new(name, (x + 30, 59), style(14).pos(at)))?;
        x += 110;
    }
    let machine = &report.machine;
    let text = format!(
        "{}, {}",
        machine.cpu,
        machine.date.get(..10).unwrap_or_default()
    );
    let right = Pos::new(HPos::Right, VPos::Center);
    area.draw(&Text::new(
        text,
        (i32::try_from(SIZE.0)? - 20, 59),
        style(13).pos(right),
    ))?;
    Ok(())
}

fn grid(plot: &Plot<'_>, groups: usize, top: f64) -> Drawn {
    let end = f64::from(u32::try_from(groups)?);
    let mut y = 0.0;
    while y <= top {
        plot.draw(&PathElement::new(
            [(0.0, y), (end, y)],
            RGBColor(225, 225, 225),
        ))?;
        let label = Pos::new(HPos::Right, VPos::Center);
        let beside = EmptyElement::at((0.0, y))
            + Text::new(format!("{y:.1}"), (-8, 0), style(13).pos(label));
        plot.draw(&beside)?;
        y += 0.5;
    }
    Ok(())
}

/// One workload: its bars, its name, and the marks of the goals.
fn group(plot: &Plot<'_>, left: f64, summary: &Summary) -> Drawn {
    let metric = summary.main_metric();
    let mut x = left + (1.0 - BAR * 3.0) / 2.0;
    for (name, colour) in SERIES {
        let row = summary.rows.iter().find(|row| row.name == name);
        if let Some(spread) = row.and_then(|row| row.ratios.get(&metric)) {
            plot.draw(&Rectangle::new(
                [(x, 0.0), (x + BAR, spread.median)],
                colour.filled(),
            ))?;
            let middle = x + BAR / 2.0;
            plot.draw(&PathElement::new(
                [(middle, spread.q1), (middle, spread.q3)],
                INK.stroke_width(1),
            ))?;
            let above = Pos::new(HPos::Center, VPos::Bottom);
            let text = Text::new(
                format!("{:.2}", spread.median),
                (0, -4),
                style(11).pos(above),
            );
            plot.draw(&(EmptyElement::at((middle, spread.median.max(spread.q3))) + text))?;
        }
        x += BAR;
    }
    let below = Pos::new(HPos::Center, VPos::Top);
    let void = if summary.valid == 0 { " (void)" } else { "" };
    let name = Text::new(
        format!("{}{void}", summary.name),
        (0, 10),
        style(13).pos(below),
    );
    plot.draw(&(EmptyElement::at((left + 0.5, 0.0)) + name))?;
    Ok(())
}

/// The goal of App-Proxy, across its bar.
fn marks(plot: &Plot<'_>, x: f64, summary: &Summary) -> Drawn {
    let metric = summary.main_metric();
    for goal in GOALS
        .iter()
        .filter(|goal| goal.workload == summary.name && goal.metric == metric)
    {
        for (limit, colour) in [(goal.at_least, AT_LEAST), (goal.goal, GOAL)] {
            plot.draw(&PathElement::new(
                [(x - 0.06, limit), (x + BAR + 0.06, limit)],
                colour.stroke_width(3),
            ))?;
        }
    }
    Ok(())
}

fn style<'a>(size: u32) -> TextStyle<'a> {
    ("sans-serif", f64::from(size)).into_font().color(&INK)
}
