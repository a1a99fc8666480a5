declare module "parse-prometheus-text-format" {
  export interface Parsed {
    readonly name: string
    readonly help: string
    readonly type: "COUNTER" | "GAUGE" | "HISTOGRAM" | "SUMMARY" | "UNTYPED"
    readonly metrics: ReadonlyArray<{
      readonly labels?: Readonly<Record<string, string>>
      readonly value?: string
      readonly buckets?: Readonly<Record<string, string>>
      readonly quantiles?: Readonly<Record<string, string>>
      readonly count?: string
      readonly sum?: string
    }>
  }
  export default function parsePrometheusTextFormat(text: string): Array<Parsed>
}
