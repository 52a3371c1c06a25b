"""The report: one page that needs no network, with table, players, plots, worst frames and contact sheets."""

from __future__ import annotations

import html
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

import numpy as np

from speech2lip.atomic import write_atomically
from speech2lip.avatar import Avatar
from speech2lip.config import EvaluateSettings
from speech2lip.conventions import SAMPLE_RATE, Picture
from speech2lip.evaluation.accumulate import Figures, Moment, Openings
from speech2lip.evaluation.ground_truth import truth_line
from speech2lip.evaluation.held_out import Span
from speech2lip.evaluation.result import COST, METRICS, REVOICED, Result, cell
from speech2lip.evaluation.speech_labels import Heard
from speech2lip.evaluation.unseen_speaker import foreign_video
from speech2lip.report.plots import opening_plot, training_plots
from speech2lip.report.quality_pictures import (
    GAIN,
    ContactSheet,
    Player,
    WorstFrames,
    data_uri,
    head_box,
    jpeg,
)

TAKES_SHOWN = 12
SECONDS_SHOWN = 20.0
"""Of a take's player and plot."""
MOUTHS = 12
"""On a contact sheet."""
JUDGED = "ours"
"""The row that is shown."""


@dataclass(frozen=True)
class TakeView:
    """What the page shows of a take; ready-made HTML attributes and elements."""

    name: str
    frames: int
    video: str
    """Data URI."""
    poster: str
    """Data URI."""
    plot: str
    """SVG."""
    sheet: str | None
    """Data URI."""
    seconds: tuple[float, ...]
    """Of the columns of the sheet."""


@dataclass(frozen=True)
class ForeignView:
    """The person speaking what strangers said."""

    names: tuple[str, ...]
    """Of the sounds."""
    video: str
    """Data URI."""
    poster: str
    """Data URI."""


def show_foreign(avatar: Path, sounds: Sequence[Path], settings: EvaluateSettings) -> ForeignView:
    """Let an avatar speak strangers' sounds for the page."""
    spoken = foreign_video(avatar, sounds, settings)
    poster = data_uri(jpeg(spoken.first), "image/jpeg")
    return ForeignView(spoken.names, data_uri(spoken.video, "video/mp4"), poster)


class Report:
    """Watches an evaluation and writes the page at its end; holds small pictures only."""

    def __init__(self, path: Path, avatar: Avatar) -> None:
        self.path, self.avatar = path, avatar
        self.takes: list[TakeView] = []
        self.left_out = 0
        """Takes that the page has no room for."""
        self.worst = WorstFrames()
        self.foreign: ForeignView | None = None
        self._folder = tempfile.TemporaryDirectory(prefix="speech2lip-report-")
        self._player: Player | None = None
        self._sheet: ContactSheet | None = None
        self._heard: Heard | None = None
        self._span: Span | None = None

    def __enter__(self) -> Report:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._player is not None and error is not None:
            self._player.abandon(error)
        self._folder.cleanup()

    def begin_take(self, span: Span, heard: Heard) -> None:
        """Get ready for a take, if there is room for one more."""
        self._span, self._heard = span, heard
        if len(self.takes) == TAKES_SHOWN:
            self.left_out += 1
            self._sheet = None
            return
        kept = span.kept
        self._sheet = ContactSheet(
            kept[np.linspace(0, len(kept) - 1, min(MOUTHS, len(kept))).astype(int)].tolist()
        )

    def frame(
        self,
        span: Span,
        index: int,
        moment: Moment,
        made: Mapping[str, Picture],
        figures: Mapping[str, Figures],
    ) -> None:
        """Show a frame."""
        self.worst.add(span.take.name, index, figures[JUDGED], moment.real, made[JUDGED], moment.box)
        self.pass_over(span, index, moment, made)

    def pass_over(self, span: Span, index: int, moment: Moment, made: Mapping[str, Picture]) -> None:
        """Show a frame in the player and on the contact sheet, but not among the worst."""
        picture, begun = made[JUDGED], float(span.times[0])
        if self._sheet is None or self._heard is None:
            return
        self._sheet.add(index, moment.time, moment.real, picture, moment.box)
        if moment.time - begun > SECONDS_SHOWN:
            return
        if self._player is None:
            path = Path(self._folder.name) / f"{len(self.takes)}.mp4"
            box = head_box(moment.box, moment.real)
            heard = self._heard.wave[round((begun - self._heard.begins) * SAMPLE_RATE) :]
            self._player = Player(path, box, fps=span.take.fps, wave=heard, start=begun)
        self._player.write(moment.real, picture, moment.time)

    def end_take(self, openings: Mapping[str, Openings]) -> None:
        """Put the take's parts together."""
        span, heard, player, sheet = self._span, self._heard, self._player, self._sheet
        self._player = None
        if span is None or heard is None or player is None or sheet is None:
            return
        ours = openings[JUDGED]
        shown = ours.times - ours.times[0] <= SECONDS_SHOWN
        plot = opening_plot(
            ours.times[shown],
            {"truth": ours.real[shown], "ours": ours.made[shown]},
            heard.wave,
            wave_begins=heard.begins,
            pauses=heard.pauses,
            closures=heard.closures,
        )
        mouths = sheet.picture()
        self.takes.append(
            TakeView(
                name=_name(span),
                frames=len(span.kept),
                video=data_uri(player.close(), "video/mp4"),
                poster=data_uri(player.poster or b"", "image/jpeg"),
                plot=plot,
                sheet=None if mouths is None else data_uri(jpeg(mouths), "image/jpeg"),
                seconds=tuple(sheet.seconds),
            )
        )
        player.path.unlink()

    def finish(self, result: Result, heading: str) -> None:
        """Write the page; an older one stays until the new one is whole."""
        page = write_page(self, result, heading)
        with write_atomically(self.path) as partial:
            partial.write_text(page, encoding="utf-8")


def _name(span: Span) -> str:
    """Name a span by its take and, where it is not all of it, its seconds."""
    if len(span.times) == len(span.take.times):
        return span.take.name
    return f"{span.take.name}, {span.times[0]:.1f} to {span.times[-1]:.1f} s"


ROW_NAMES: Mapping[str, str] = {
    "real_video": "real video", "static_lips": "static lips", "nearest": "nearest sound", "ours": "ours",
    "paper": "paper",
}  # fmt: skip

MEANING: Mapping[str, str] = {
    "mouth_psnr": "likeness in the mouth box, dB &#8593;",
    "mouth_ssim": "likeness of structure in the mouth box, 0 to 1 &#8593;",
    "mouth_cpbd": "sharpness of the mouth box without truth; near the real video's",
    "sharpness_ratio": "detail over the real frame's; 1 is right",
    "frame_psnr": "likeness of the whole frame, dB &#8593;",
    "frame_ssim": "likeness of structure of the whole frame &#8593;",
    "lpips": "perceptual distance &#8595;",
    "lmd_px": "distance of the 20 mouth points, pixels &#8595;",
    "lmd_percent": "the same in per cent of the distance between the eyes &#8595;",
    "opening_r": "correlation of the lip opening with the truth &#8593;",
    "opening_ccc": "the same, wrong size and offset counted too &#8593;",
    "opening_std_ratio": "how far the mouth opens over how far it should; 1 is right",
    "width_r": "correlation of the mouth's width with the truth &#8593;",
    "closure_reached": "share of /p b m/ at which the lips meet; near the real video's",
    "silent_open_percent": "frames with an open mouth while nobody speaks, % &#8595;",
    "leak_r": "correlation with the mouth that was covered, under other sound; 0 is right",
    "cross_r": "correlation with the person who is heard, under other sound &#8593;",
    "sync_offset_ms": "how late the sound is; near the real video's",
    "sync_confidence": "how clearly sound and lips fit &#8593;",
    "syncnet_confidence": "the public SyncNet: how clearly sound and lips fit &#8593;",
    "syncnet_distance": "the public SyncNet: distance of sound and lips &#8595;",
    "syncnet_offset_ms": "the public SyncNet: how late the sound is",
    "expert_confidence": "our own judge of sync: how clearly sound and lips fit &#8593;",
    "expert_distance": "our own judge of sync: distance of sound and lips &#8595;",
    "expert_offset_ms": "our own judge of sync: how late the sound is",
    "jitter_ratio": "trembling of the mouth over the real one's; 1 is right",
    "flicker_ratio": "changes of light in the mouth box over the real ones; 1 is right",
    "seam_ratio": "edge of what was pasted over the real frame there; 1 is right",
    "frames": "frames judged",
    "frames_not_spoken_over": "frames shown as they were filmed: the head has turned away",
    "opening_error": "lip opening off by, in eye distances &#8595;",
}

COST_MEANING: Mapping[str, str] = {
    "prepare_fps": "frames prepared a second", "train_seconds": "seconds of training",
    "speak_fps": "frames spoken a second, end to end", "first_frame_ms": "to the first frame, milliseconds",
    "peak_mb": "most memory while speaking, MB", "gflop_per_frame": "arithmetic of a frame, GFLOP",
    "weights_mb": "size of the weights, MB",
}  # fmt: skip

VOICE_MEANING: Mapping[str, str] = {
    "speech_r": "read from speech &#8593;", "speech_drop": "fall &#8595;",
    "opening_r": "in the pictures &#8593;", "opening_drop": "fall &#8595;",
}  # fmt: skip

STYLE = """
:root{color-scheme:light dark;--ink:#1c1f24;--soft:#667;--line:#ccd;--back:#fff;--wave:#d5deea;--ours:#c2410c;
--truth:#1c5cab;--pause:#f1e9c9}
@media(prefers-color-scheme:dark){:root{--ink:#e7e9ee;--soft:#9aa3b2;--line:#39404d;--back:#15181d;--wave:#2c3847;
--ours:#fb923c;--truth:#7db4f5;--pause:#3a351f}}
body{font:15px/1.5 system-ui,sans-serif;color:var(--ink);background:var(--back);max-width:1000px;
margin:2rem auto;padding:0 1rem}
h1{font-size:1.5rem;margin-bottom:.2rem}h2{font-size:1.15rem;margin-top:2.2rem}p,.soft{color:var(--soft)}
table{border-collapse:collapse;font-variant-numeric:tabular-nums}
th,td{padding:.18rem .7rem;border-bottom:1px solid var(--line);text-align:right}
th:first-child,td:first-child,td:last-child{text-align:left}td:last-child{color:var(--soft);font-size:.85rem}
td.ours{font-weight:600}#voices td:last-child{text-align:right;color:inherit;font-size:inherit}
h3{font-weight:400;margin-bottom:.3rem}video.foreign{max-width:640px;border-radius:6px}
.seconds{display:grid;text-align:center;color:var(--soft);font-size:.75rem}
code{font-size:.85rem}
video{width:100%;display:block;background:#000;border-radius:6px 6px 0 0}
.take{margin:1.2rem 0 2rem}.labels{display:grid;grid-template-columns:repeat(3,1fr);text-align:center;
color:var(--soft);font-size:.85rem}
svg{width:100%;height:auto}svg text{font-size:11px;fill:var(--soft)}
svg .wave{fill:var(--wave)}svg .pause{fill:var(--pause);opacity:.7}svg .closure{fill:var(--ink)}
svg .line{fill:none;stroke-width:1.8;stroke:var(--ours)}svg .line.truth{stroke:var(--truth)}
svg .playhead{stroke:var(--ink);stroke-width:1}svg .axis{stroke:var(--line)}
svg circle{fill:var(--ours)}svg .phase1 .line{stroke:var(--truth)}svg .phase1 circle{fill:var(--truth)}
.key b{font-weight:600}.key .t{color:var(--truth)}.key .o{color:var(--ours)}
.sheet{width:100%;display:block}.grid{display:grid;grid-template-columns:repeat(4,1fr);gap:.8rem}
.grid img{width:100%;display:block}.grid figure{margin:0}figcaption{font-size:.8rem;color:var(--soft)}
.curves{display:grid;grid-template-columns:repeat(3,1fr);gap:1rem}
"""

SCRIPT = """
for (const video of document.querySelectorAll('video'))
  video.addEventListener('loadedmetadata', () => { video.dataset.seconds = video.duration; });
for (const take of document.querySelectorAll('.take')) {
  const video = take.querySelector('video'), head = take.querySelector('.playhead');
  const show = () => { const x = 960 * video.currentTime / (video.duration || 1);
    head.setAttribute('x1', x); head.setAttribute('x2', x);
    if (!video.paused) requestAnimationFrame(show); };
  video.addEventListener('play', show); video.addEventListener('timeupdate', show);
}
"""


def write_page(report: Report, result: Result, heading: str) -> str:
    """Return the whole page."""
    title = f"{report.avatar.folder.name} on {result.footage}"
    about = f"{heading.strip()}. Code: {result.commit or 'unknown'}."
    history = list(report.avatar.info.history)
    parts = [
        f"<h1>{html.escape(title)}</h1><p>{html.escape(about)}</p>",
        "<h2>Figures</h2>", figures_table(result), truth_part(result), "<h2>Cost</h2>", cost_table(result),
        "<h2>Held-out takes</h2>",
        f"<p>Each player: truth | ours | difference ({GAIN} times, around grey). Below: lip opening "
        '<span class="key"><b class="t">truth</b> and <b class="o">ours</b></span> over the waveform; '
        "shaded: nobody speaks; marks at the bottom: /p b m/. Mouths: truth above, ours below.</p>",
        *(take_part(take) for take in report.takes),
        f"<p>{report.left_out} more takes were judged but are not shown.</p>" if report.left_out else "",
        foreign_part(report.foreign), voices_part(result),
        "<h2>Worst frames of each metric</h2><p>Truth left, ours right.</p>", worst_part(report),
        "<h2>Training</h2><p>Each loss from first to last value over time; phases in two colours.</p>",
        f'<div class="curves">{training_plots(history)}</div>' if history else "<p>No history was kept.</p>",
        "<h2>Details</h2><details><summary>Intervals, counts and how things are known, as JSON</summary>"
        f"<pre><code>{html.escape(details_text(result))}</code></pre></details>",
    ]  # fmt: skip
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{html.escape(title)}</title><style>{STYLE}</style></head><body>"
        f"{''.join(parts)}<script>{SCRIPT}</script></body></html>\n"
    )


def figures_table(result: Result) -> str:
    """Return the table, one metric a line: that fits a page and has room for what it means.

    Metrics that no row has stand below it.
    """
    lines = ["".join(f"<th>{html.escape(ROW_NAMES.get(row, row))}</th>" for row in result.rows)]
    unknown = [name for name in METRICS if all(figures.get(name) is None for figures in result.rows.values())]
    for name, decimals in METRICS.items():
        if name in unknown:
            continue
        values = [(row, cell(figures.get(name), decimals)) for row, figures in result.rows.items()]
        cells = "".join(f'<td class="{html.escape(row)}">{value}</td>' for row, value in values)
        lines.append(f"<td><code>{name}</code></td>{cells}<td>{MEANING[name]}</td>")
    head, *body = lines
    rows = "".join(f"<tr>{line}</tr>" for line in body)
    missing = " ".join(f"<code>{name}</code>" for name in unknown)
    return f'<table id="figures"><tr><th></th>{head}<th></th></tr>{rows}</table>' + (
        f'<p id="missing">Not measured here: {missing}.</p>' if unknown else ""
    )


def truth_part(result: Result) -> str:
    """Return what is known of the detector's own errors; nothing without exact truth."""
    line = truth_line(result.details.get("against_exact_truth"))
    return f'<p id="truth">{html.escape(line)}</p>' if line else ""


def cost_table(result: Result) -> str:
    """Return the table of costs."""
    rows = "".join(
        f"<tr><td><code>{name}</code></td><td>{cell(result.cost.get(name), decimals)}</td>"
        f"<td>{COST_MEANING[name]}</td></tr>"
        for name, decimals in COST.items()
    )
    return f'<table id="cost">{rows}</table>'


def take_part(take: TakeView) -> str:
    """Return player, plot and mouths of a take."""
    marks = "".join(f"<span>{second:.2f} s</span>" for second in take.seconds)
    sheet = (
        f'<img class="sheet" alt="mouths, truth above ours" src="{take.sheet}">'
        f'<div class="seconds" style="grid-template-columns:repeat({len(take.seconds)},1fr)">{marks}</div>'
        if take.sheet
        else ""
    )
    return (
        f'<section class="take"><b>{html.escape(take.name)}</b> '
        f'<span class="soft">{take.frames} frames</span>'
        f'<video controls preload="metadata" playsinline poster="{take.poster}" src="{take.video}"></video>'
        '<div class="labels"><span>truth</span><span>ours</span><span>difference</span></div>'
        f"{take.plot}{sheet}</section>"
    )


def foreign_part(foreign: ForeignView | None) -> str:
    """Return the player of the person speaking foreign speech; nothing without."""
    if foreign is None:
        return ""
    names = ", ".join(map(html.escape, foreign.names))
    return (
        f"<h2>Strangers' words</h2><p>Sound that is not the person's: {names}. The head moves as in the "
        "footage.</p>"
        f'<video class="foreign" controls preload="metadata" playsinline poster="{foreign.poster}" '
        f'src="{foreign.video}"></video>'
    )


def voices_part(result: Result) -> str:
    """Return the table of other voices; nothing where they were not tried."""
    if not result.revoiced:
        return ""
    known = [key for key in REVOICED if any(row.get(key) is not None for row in result.revoiced.values())]
    head = "".join(f"<th>{VOICE_MEANING[key]}</th>" for key in known)
    rows = "".join(
        f"<tr><td>{html.escape(kind)}</td>"
        + "".join(f"<td>{cell(row.get(key), REVOICED[key])}</td>" for key in known)
        + "</tr>"
        for kind, row in result.revoiced.items()
    )
    return (
        "<h2>Other voices</h2><p>The held-out takes speak their own sentences in other voices and over other "
        "channels: how the lip opening correlates with the truth, and how far that falls.</p>"
        f'<table id="voices"><tr><th></th>{head}</tr>{rows}</table>'
    )


def worst_part(report: Report) -> str:
    """Return the worst frames of every metric."""
    parts = []
    for name, frames in report.worst.found.items():
        figures = "".join(
            f'<figure><img alt="" src="{data_uri(frame.picture, "image/jpeg")}"><figcaption>'
            f"{html.escape(frame.take)}, frame {frame.index}: {frame.value:.3g}</figcaption></figure>"
            for frame in frames
        )
        meaning = f'<code>{name}</code> <span class="soft">{MEANING[name]}</span>'
        parts.append(f'<h3>{meaning}</h3><div class="grid worst">{figures}</div>')
    return "".join(parts)


def details_text(result: Result) -> str:
    """Return the details as JSON for people."""
    import json

    return json.dumps(result.details, indent=1, sort_keys=True, allow_nan=False)
