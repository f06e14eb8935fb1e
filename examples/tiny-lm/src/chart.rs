//! The loss curve as an SVG picture.

use std::fmt::Write;

const WIDTH: f64 = 760.0;
const HEIGHT: f64 = 360.0;
const LEFT: f64 = 60.0;
const RIGHT: f64 = 20.0;
const TOP: f64 = 40.0;
const BOTTOM: f64 = 50.0;
/// Points drawn of the training loss; more cannot be told apart.
const TRAINING_POINTS: usize = 300;

/// A loss in nats per token.
#[derive(Clone, Copy)]
pub(crate) struct Point {
    /// Optimiser steps taken.
    pub(crate) step: usize,
    /// Mean cross-entropy.
    pub(crate) loss: f64,
}

/// Both losses over the run.
#[derive(Default)]
pub(crate) struct Curve {
    /// One point per step.
    pub(crate) training: Vec<Point>,
    /// One point per measurement.
    pub(crate) held_out: Vec<Point>,
}

impl Curve {
    /// The curve as the log has it, for a run that goes on: one point per measurement.
    pub(crate) fn from_log(log: &str) -> Self {
        let mut curve = Self::default();
        for line in log.lines().filter_map(|line| line.strip_prefix("step ")) {
            let numbers: Vec<f64> =
                line.split([' ', ':', ',']).filter_map(|word| word.parse().ok()).collect();
            if let [step, loss, perplexity, ..] = numbers[..] {
                let step = step as usize;
                curve.training.push(Point { step, loss });
                curve.held_out.push(Point { step, loss: perplexity.ln() });
            }
        }
        curve
    }

    /// Mean training loss of the last 50 steps.
    pub(crate) fn recent(&self) -> f64 {
        let start = self.training.len().saturating_sub(50);
        mean(&self.training[start..])
    }
}

fn mean(points: &[Point]) -> f64 {
    points.iter().map(|point| point.loss).sum::<f64>() / points.len().max(1) as f64
}

/// Averages neighbouring points, so that the noise of single batches does not hide the curve.
fn smooth(points: &[Point]) -> Vec<Point> {
    let size = points.len().div_ceil(TRAINING_POINTS).max(1);
    let average = |chunk: &[Point]| Point { step: chunk[chunk.len() / 2].step, loss: mean(chunk) };
    points.chunks(size).map(average).collect()
}

/// Where a point lands in the picture.
struct Scale {
    steps: f64,
    loss: f64,
}

impl Scale {
    fn x(&self, step: f64) -> f64 {
        LEFT + step / self.steps * (WIDTH - LEFT - RIGHT)
    }

    fn y(&self, loss: f64) -> f64 {
        HEIGHT - BOTTOM - (loss / self.loss).min(1.0) * (HEIGHT - TOP - BOTTOM)
    }

    fn line(&self, points: &[Point], colour: &str, width: f64) -> String {
        let mut at = String::new();
        for point in points {
            let _written =
                write!(at, "{:.1},{:.1} ", self.x(point.step as f64), self.y(point.loss));
        }
        let at = at.trim_end();
        format!(
            "<polyline points=\"{at}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"{width}\"/>\n"
        )
    }
}

fn label(x: f64, y: f64, anchor: &str, text: &str) -> String {
    format!("<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\">{text}</text>\n")
}

fn axes(scale: &Scale) -> String {
    let mut out = String::new();
    for loss in 0..=scale.loss as usize {
        let y = scale.y(loss as f64);
        let end = WIDTH - RIGHT;
        out += &format!("<path d=\"M{LEFT} {y:.1}H{end}\" stroke=\"#ddd\"/>\n");
        out += &label(LEFT - 8.0, y + 4.0, "end", &loss.to_string());
    }
    for part in 0..=5 {
        let step = scale.steps * f64::from(part) / 5.0;
        out += &label(scale.x(step), HEIGHT - BOTTOM + 20.0, "middle", &format!("{step:.0}"));
    }
    out += &label(WIDTH / 2.0, HEIGHT - 10.0, "middle", "steps");
    out += &label(LEFT - 40.0, TOP - 16.0, "start", "loss (nats per token)");
    out
}

/// The picture.
pub(crate) fn svg(curve: &Curve) -> String {
    let steps = curve.training.last().map_or(1, |point| point.step) as f64;
    let scale = Scale { steps, loss: 5.0 };
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" \
         font-family=\"sans-serif\" font-size=\"12\" fill=\"#333\">\n\
         <rect width=\"{WIDTH}\" height=\"{HEIGHT}\" fill=\"#fff\"/>\n"
    );
    out += &axes(&scale);
    out += &scale.line(&smooth(&curve.training), "#e8590c", 1.2);
    out += &scale.line(&curve.held_out, "#1864ab", 2.0);
    let end = WIDTH - RIGHT;
    out += &label(
        end,
        TOP - 16.0,
        "end",
        "<tspan fill=\"#e8590c\">training</tspan> \
        <tspan fill=\"#1864ab\">held out</tspan>",
    );
    if let Some(last) = curve.held_out.last() {
        let text = format!("perplexity {:.2}", last.loss.exp());
        out += &label(end, scale.y(last.loss) - 10.0, "end", &text);
    }
    out + "</svg>\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_gives_its_curve_back() {
        let log = "3 parameters\nstep 200: loss 0.5, held-out perplexity 2.0, 1.2 M tokens\n  at \
                   step 210 it tells: step 9: loss\nstep 400: loss 0.4, held-out perplexity 1.5\n";
        let curve = Curve::from_log(log);
        let points = |points: &[Point]| points.iter().map(|p| (p.step, p.loss)).collect::<Vec<_>>();
        assert_eq!(points(&curve.training), [(200, 0.5), (400, 0.4)]);
        assert_eq!(points(&curve.held_out), [(200, 2.0_f64.ln()), (400, 1.5_f64.ln())]);
        assert!(svg(&curve).contains("perplexity 1.50"));
    }
}
