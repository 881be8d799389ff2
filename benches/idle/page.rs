//! The results for the README: a picture and tables, made from the JSON of a run.

use std::error::Error;
use std::fmt::Write;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};
use serde_json::Value;

use super::spread::Spread;
use super::subject::Kind;

/// The JSON of the run that the README shows.
pub(crate) const PUBLISHED: &str = "benches/results/idle.json";

/// Draws the picture next to the JSON and writes the tables into the README. With `is_check` it writes
/// nothing, and fails if a file is not what it would write.
pub(crate) fn draw(json: &Path, is_check: bool) -> io::Result<()> {
    let report: Value = serde_json::from_str(&fs::read_to_string(json)?)?;
    let rows = Row::all(&report).ok_or_else(|| {
        io::Error::other(format!(
            "{} has no results of the stage `dense`: make them with --json",
            json.display()
        ))
    })?;
    let readme = Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md");
    let text = fs::read_to_string(&readme)?;
    let page = with_tables(&text, &tables(&report, &rows))?;
    let files = [
        (json.with_extension("svg"), picture(&rows)?),
        (readme, page),
    ];
    files
        .iter()
        .try_for_each(|(path, text)| put(path, text, is_check))
}

fn put(path: &PathBuf, text: &str, is_check: bool) -> io::Result<()> {
    if !is_check {
        println!("{}", path.display());
        return fs::write(path, text);
    }
    match fs::read_to_string(path)? == text {
        true => Ok(()),
        false => Err(io::Error::other(format!(
            "{} does not match its JSON: draw it again",
            path.display()
        ))),
    }
}

/// The results of one server in the stage `dense`.
struct Row {
    name: String,
    is_ours: bool,
    cost: Spread,
    ratio: Spread,
    bytes: Spread,
    /// How much the time between two pings differs from the interval, as the peers measure it: the 99th
    /// percentile, in microseconds.
    gap_error: u64,
}

impl Row {
    /// The servers of a report, sorted by CPU cost.
    fn all(report: &Value) -> Option<Vec<Self>> {
        let subjects = report["dense"]["subjects"].as_array()?;
        let mut rows: Vec<_> = subjects.iter().map(Self::of).collect::<Option<_>>()?;
        rows.sort_by(|a, b| a.cost.median.total_cmp(&b.cost.median));
        Some(rows)
    }

    fn of(subject: &Value) -> Option<Self> {
        let runs = subject["runs"].as_array()?;
        let bytes: Option<Vec<_>> = runs
            .iter()
            .map(|run| run["arrival"]["bytes_each"].as_f64())
            .collect();
        Some(Self {
            name: subject["name"].as_str()?.to_owned(),
            is_ours: subject["kind"] == Kind::Heartwheel.name(),
            cost: Spread::from_json(&subject["cpu_us_per_round_trip"])?,
            ratio: Spread::from_json(&subject["against_the_floor"])?,
            bytes: Spread::of(bytes?.into_iter()),
            gap_error: subject["gap_error_us"]["p99"].as_u64()?,
        })
    }
}

// The tables.

fn tables(report: &Value, rows: &[Row]) -> String {
    let dense = &report["dense"];
    let mut text = format!(
        "{} connections, each pinged every {} s. Each server ran {} times for {} s; the servers took turns. The tables \
         show the median and, in brackets, the smallest and the largest value.\n\n| server | bytes per connection | µs \
         of CPU per round trip | ratio to the floor | error of the ping interval, p99 |\n| --- | --: | --: | --: | --: |\n",
        dense["connections"],
        number(&dense["interval_s"]),
        report["plan"]["pairs"],
        number(&dense["seconds_a_run"]),
    );
    for row in rows {
        let name = match row.is_ours {
            true => format!("**{}**", row.name),
            false => row.name.clone(),
        };
        let _ = writeln!(
            text,
            "| {name} | {} | {} | {} | {:.1} ms |",
            row.bytes.show(0),
            row.cost.show(1),
            row.ratio.show(2),
            row.gap_error as f64 / 1e3,
        );
    }
    if let Some(subjects) = report["sparse"]["subjects"].as_array() {
        add_sparse(&mut text, &report["sparse"], subjects);
    }
    let machine = &report["machine"];
    let _ = write!(
        text,
        "\nMachine: {}, {} cores, Linux {}. Command:\n\n```sh\n{}\n```\n",
        word(&machine["cpu"]),
        machine["cores"],
        word(&machine["kernel"]),
        word(&report["plan"]["command"]),
    );
    text
}

fn add_sparse(text: &mut String, load: &Value, subjects: &[Value]) {
    let _ = write!(
        text,
        "\n{} connections, each pinged every {} s. With so few pings, wake-ups cost the most. A slack (`--ping-slack`) \
         lets several pings share one.\n\n| server | µs of CPU per round trip | ratio to the floor |\n| --- | --: | --: |\n",
        load["connections"],
        number(&load["interval_s"]),
    );
    for subject in subjects {
        let spread = |name: &str, decimals| {
            let spread = Spread::from_json(&subject[name]);
            spread.map_or_else(String::new, |spread| spread.show(decimals))
        };
        let _ = writeln!(
            text,
            "| {} | {} | {} |",
            word(&subject["name"]),
            spread("cpu_us_per_round_trip", 1),
            spread("against_the_floor", 2),
        );
    }
}

/// Returns a number. It is then shown without `.0` if it is whole.
fn number(value: &Value) -> f64 {
    value.as_f64().unwrap_or(f64::NAN)
}

fn word(value: &Value) -> &str {
    value.as_str().unwrap_or("unknown")
}

/// Returns the README with the text between its marks replaced.
fn with_tables(readme: &str, tables: &str) -> io::Result<String> {
    let parts = readme
        .split_once(BEGIN)
        .and_then(|(head, rest)| Some((head, rest.split_once(END)?.1)));
    let (head, tail) =
        parts.ok_or_else(|| io::Error::other(format!("the README lacks {BEGIN} or {END}")))?;
    Ok(format!("{head}{BEGIN}\n\n{tables}\n{END}{tail}"))
}

const BEGIN: &str = "<!-- drawn by benches/idle/page.rs from here -->";
const END: &str = "<!-- to here -->";

// The picture.

fn picture(rows: &[Row]) -> io::Result<String> {
    let mut svg = String::new();
    draw_on(&mut svg, rows).map_err(io::Error::other)?;
    Ok(svg)
}

type Drawn = Result<(), Box<dyn Error + Send + Sync>>;

fn draw_on(svg: &mut String, rows: &[Row]) -> Drawn {
    let height = ABOVE + BELOW + ROW * rows.len() as u32;
    let area = SVGBackend::with_string(svg, (WIDTH, height)).into_drawing_area();
    area.fill(&WHITE)?;
    let (left, right) = area.split_horizontally(NAMES + (WIDTH - NAMES) / 2);
    Panel {
        title: "bytes of memory per idle connection",
        names: NAMES,
        figure: |row| row.bytes,
        decimals: 0,
        is_logarithmic: true,
    }
    .draw(&left, rows)?;
    Panel {
        title: "µs of CPU per ping answered",
        names: 0,
        figure: |row| row.cost,
        decimals: 1,
        is_logarithmic: false,
    }
    .draw(&right, rows)?;
    area.present()?;
    Ok(())
}

/// A bar chart of one result of every server.
struct Panel {
    title: &'static str,
    /// Width of the servers' names on the left, in pixels.
    names: u32,
    figure: fn(&Row) -> Spread,
    decimals: usize,
    is_logarithmic: bool,
}

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;

impl Panel {
    fn draw(&self, area: &Area<'_>, rows: &[Row]) -> Drawn {
        let most = rows
            .iter()
            .map(|row| self.place((self.figure)(row).most))
            .fold(0.0, f64::max);
        let mut chart = ChartBuilder::on(area)
            .margin_left(self.names + GAP)
            .margin_right(GAP)
            .margin_top(ABOVE)
            .x_label_area_size(BELOW)
            // This leaves room for a number after the longest bar.
            .build_cartesian_2d(0.0..most * 1.2, rows.len() as f64..0.0)?;
        chart
            .configure_mesh()
            .disable_y_mesh()
            .disable_y_axis()
            .light_line_style(TRANSPARENT)
            .bold_line_style(GRID)
            .axis_style(GRID)
            .x_labels(6)
            .x_label_formatter(&|place| self.value(*place))
            .label_style(text(12, SOFT))
            .draw()?;
        let title = text(15, INK).pos(Pos::new(HPos::Left, VPos::Top));
        area.draw_text(self.title, &title, ((self.names + GAP) as i32, 12))?;
        for (number, row) in rows.iter().enumerate() {
            let spread = (self.figure)(row);
            let [least, median, most] =
                [spread.least, spread.median, spread.most].map(|value| self.place(value));
            let [top, middle, bottom] = [0.2, 0.5, 0.8].map(|part| number as f64 + part);
            let colour = if row.is_ours { OURS } else { OTHERS };
            let bar = Rectangle::new([(0.0, top), (median, bottom)], colour.filled());
            chart.draw_series([bar])?;
            chart.draw_series([PathElement::new([(least, middle), (most, middle)], INK)])?;
            let label = |at, text: String, (shift, side)| {
                let style = self::text(13, INK).pos(Pos::new(side, VPos::Center));
                EmptyElement::at((at, middle)) + Text::new(text, (shift, 0), style)
            };
            let value = format!("{:.*}", self.decimals, spread.median);
            chart.draw_series([label(most, value, (6, HPos::Left))])?;
            if self.names > 0 {
                chart.draw_series([label(0.0, row.name.clone(), (-8, HPos::Right))])?;
            }
        }
        Ok(())
    }

    /// Returns the position of a value on the axis.
    fn place(&self, figure: f64) -> f64 {
        match self.is_logarithmic {
            true => figure.max(1.0).log10(),
            false => figure,
        }
    }

    /// Returns the label at a position on the axis.
    fn value(&self, place: f64) -> String {
        match self.is_logarithmic {
            true => format!("{:.0}", 10_f64.powf(place)),
            false => format!("{place}"),
        }
    }
}

fn text(size: u32, colour: RGBColor) -> TextStyle<'static> {
    ("sans-serif", size).into_font().color(&colour)
}

const WIDTH: u32 = 860;
const NAMES: u32 = 170;
const ROW: u32 = 28;
const ABOVE: u32 = 40;
const BELOW: u32 = 30;
const GAP: u32 = 14;
const INK: RGBColor = RGBColor(0x22, 0x22, 0x22);
const SOFT: RGBColor = RGBColor(0x66, 0x66, 0x66);
const GRID: RGBColor = RGBColor(0xdd, 0xdd, 0xdd);
const OURS: RGBColor = RGBColor(0xd9, 0x48, 0x41);
const OTHERS: RGBColor = RGBColor(0xa8, 0xb4, 0xc4);
