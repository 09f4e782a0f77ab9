import { BarChart, LineChart } from "echarts/charts";
import { AriaComponent, GridComponent, LegendComponent, TooltipComponent } from "echarts/components";
import { connect, init, use as register, type ECharts } from "echarts/core";
import { CanvasRenderer } from "echarts/renderers";
import { UnstyledButton, useComputedColorScheme } from "@mantine/core";
import { useEffect, useEffectEvent, useRef } from "react";
import { clock, instant } from "../../app/format";
import { text } from "../../app/text";

register([BarChart, LineChart, GridComponent, TooltipComponent, LegendComponent, AriaComponent, CanvasRenderer]);

/** `isBefore`: of the period before, drawn dashed and never part of a stack. */
export interface Line { name: string; color: string; values: (number | null)[]; isBefore?: boolean }
interface Props {
  title: string; times: number[]; lines: Line[]; kind: "bar" | "line"; zone: string; step: number; format: (value: number | null) => string; most?: number;
  onZoom: (from: number, to: number) => void;
}

/** One chart over time. Charts on a page share the cursor; dragging over one narrows the range of all. */
export default function Chart({ title, times, lines, kind, zone, step, format, most, onZoom }: Props) {
  const box = useRef<HTMLDivElement>(null);
  const chart = useRef<ECharts | null>(null);
  const band = useRef<HTMLDivElement>(null);
  /** Narrow the range to what lies between two places of the chart, as it is drawn now. */
  const narrow = useEffectEvent((one: number, other: number) => {
    const place = (at: number) => Math.min(times.length - 1, Math.max(0, Math.round(at)));
    const [first, last] = [times[place(Math.min(one, other))], times[place(Math.max(one, other))]];
    if (first !== undefined && last !== undefined) onZoom(first, last + step * 1000);
  });
  const scheme = useComputedColorScheme("light");

  useEffect(() => {
    if (!box.current) return;
    const made = init(box.current, null, { renderer: "canvas" });
    made.group = "overview";
    connect("overview");
    chart.current = made;
    const observer = new ResizeObserver(() => made.resize());
    observer.observe(box.current);
    // Dragging marks a range; the library's own brush would take the tooltip and the shared cursor away.
    let start: number | null = null;
    const canvas = made.getZr();
    const indexAt = (x: number) => made.convertFromPixel({ xAxisIndex: 0 }, x);
    const mark = (left: number, right: number) => {
      if (!band.current) return;
      Object.assign(band.current.style, { display: "block", left: `${Math.min(left, right)}px`, width: `${Math.abs(right - left)}px` });
    };
    const clear = () => {
      start = null;
      if (band.current) band.current.style.display = "none";
    };
    canvas.on("mousedown", (event) => { if (made.containPixel({ gridIndex: 0 }, [event.offsetX, event.offsetY])) start = event.offsetX; });
    canvas.on("mousemove", (event) => { if (start !== null && Math.abs(event.offsetX - start) > 4) mark(start, event.offsetX); });
    canvas.on("mouseup", (event) => {
      const from = start;
      clear();
      if (from === null || Math.abs(event.offsetX - from) <= 4) return;
      narrow(indexAt(from), indexAt(event.offsetX));
    });
    canvas.on("globalout", clear);
    return () => {
      observer.disconnect();
      made.dispose();
      chart.current = null;
    };
  }, []);

  useEffect(() => {
    const ink = scheme === "dark" ? "#a6a7ab" : "#5c5f66";
    const rule = scheme === "dark" ? "#2c2e33" : "#e9ecef";
    const isLong = (times.at(-1) ?? 0) - (times[0] ?? 0) > 36 * 3_600_000;
    const label = (at: number) => (step >= 86_400 ? instant(at, zone).slice(0, 6) : isLong ? `${instant(at, zone).slice(0, 6)} ${clock(at, zone, false)}` : clock(at, zone, false));
    chart.current?.setOption(
      {
        animation: false,
        aria: { enabled: true, label: { description: title } },
        grid: { left: 8, right: 8, top: 8, bottom: lines.length > 1 ? 28 : 4, containLabel: true },
        legend: { show: lines.length > 1, bottom: 0, type: "scroll", icon: "roundRect", itemWidth: 10, itemHeight: 10, textStyle: { color: ink, fontSize: 11 } },
        tooltip: {
          trigger: "axis", confine: true, axisPointer: { type: "line" }, backgroundColor: scheme === "dark" ? "#25262b" : "#fff", borderColor: rule,
          textStyle: { color: scheme === "dark" ? "#c1c2c5" : "#212529", fontSize: 12 },
          valueFormatter: (value: unknown) => format(typeof value === "number" ? value : null),
        },
        xAxis: { type: "category", data: times.map(label), axisLabel: { color: ink, fontSize: 11, hideOverlap: true }, axisTick: { show: false }, axisLine: { lineStyle: { color: rule } } },
        yAxis: { type: "value", min: 0, ...(most === undefined ? {} : { max: most, interval: most / 4 }), splitNumber: 3, axisLabel: { color: ink, fontSize: 11, formatter: (value: number) => format(value).replace(/\.0+(?=\u202f)/, "") }, splitLine: { lineStyle: { color: rule } } },
        series: lines.map((line) => ({
          name: line.name, type: line.isBefore ? "line" : kind, data: line.values, color: line.color, showSymbol: false, connectNulls: false, barMaxWidth: 18,
          ...(line.isBefore ? { lineStyle: { width: 1.3, type: "dashed" }, z: 3 } : kind === "bar" ? { stack: "all" } : { lineStyle: { width: 1.8 } }),
        })),
      },
      { notMerge: true },
    );
  }, [times, lines, kind, scheme, step, title, zone, format, most]);

  const save = () => {
    const picture = chart.current?.getDataURL({ type: "png", pixelRatio: 2, backgroundColor: scheme === "dark" ? "#242424" : "#ffffff" });
    if (!picture) return;
    const bytes = Uint8Array.from(atob(picture.slice(picture.indexOf(",") + 1)), (letter) => letter.charCodeAt(0));
    const url = URL.createObjectURL(new Blob([bytes], { type: "image/png" }));
    Object.assign(document.createElement("a"), { href: url, download: `nexus-${title.toLowerCase().replace(/[^a-z0-9]+/g, "-")}.png` }).click();
    // The browser has begun to read it by then.
    window.setTimeout(() => URL.revokeObjectURL(url), 60_000);
  };

  return (
    <div style={{ position: "relative" }}>
      <UnstyledButton className="save" onClick={save} aria-label={text.savePng(title)}>PNG</UnstyledButton>
      <div ref={box} style={{ height: 190, width: "100%" }} role="img" aria-label={title} />
      <div ref={band} className="band" />
    </div>
  );
}
