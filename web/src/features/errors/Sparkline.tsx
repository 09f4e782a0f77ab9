import { words } from "./words";

const [WIDTH, HEIGHT] = [96, 24];

/** Errors by hour as small bars from a common zero; the words for those who listen. */
export function Sparkline({ counts }: { counts: number[] }) {
  const most = Math.max(1, ...counts);
  const step = WIDTH / Math.max(1, counts.length);
  return (
    <svg width={WIDTH} height={HEIGHT} viewBox={`0 0 ${WIDTH} ${HEIGHT}`} role="img" aria-label={words.sparkline(counts)} className="sparkline">
      <title>{words.sparkline(counts)}</title>
      <line x1={0} x2={WIDTH} y1={HEIGHT - 0.5} y2={HEIGHT - 0.5} />
      {counts.map((count, place) => {
        const height = count ? Math.max(2, (count / most) * (HEIGHT - 2)) : 0;
        return <rect key={place} x={place * step} y={HEIGHT - 1 - height} width={Math.max(1, step - 1)} height={height} />;
      })}
    </svg>
  );
}
