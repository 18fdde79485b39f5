{{/* What tells the series of releases, components and pods apart, for alerts and boards. */}}
{{- define "webhook-service.relabelings" -}}
- sourceLabels: [__meta_kubernetes_namespace]
  targetLabel: namespace
- sourceLabels: [__meta_kubernetes_pod_label_app_kubernetes_io_instance]
  targetLabel: release
- sourceLabels: [__meta_kubernetes_pod_label_app_kubernetes_io_component]
  targetLabel: component
- sourceLabels: [__meta_kubernetes_pod_name]
  targetLabel: pod
{{- end }}

{{/* How the metrics port of a pod is asked. */}}
{{- define "webhook-service.metricsEndpoint" -}}
- port: metrics
  path: /metrics
  interval: {{ .interval }}
  scrapeTimeout: {{ .scrapeTimeout }}
  honorLabels: false
  relabelings:
    {{- include "webhook-service.relabelings" . | nindent 4 }}
{{- end }}

{{/* The kinds of the Prometheus Operator that are asked for and that the cluster does not know, as a text. */}}
{{- define "webhook-service.skippedMonitors" -}}
{{- $skipped := list }}
{{- range $value, $kind := dict "serviceMonitor" "ServiceMonitor" "podMonitor" "PodMonitor" "prometheusRule" "PrometheusRule" }}
{{- if and (get $.Values.monitoring $value).enabled (not (include "webhook-service.knows" (dict "root" $ "kind" (printf "monitoring.coreos.com/v1/%s" $kind)))) }}
{{- $skipped = append $skipped $kind }}
{{- end }}
{{- end }}
{{- join ", " $skipped }}
{{- end }}
