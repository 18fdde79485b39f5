{{/* Whether an autoscaler owns the copies of a component: "true" or nothing. */}}
{{- define "webhook-service.autoscaled" -}}
{{- $own := (include "webhook-service.deploymentValues" . | fromJson).autoscaling | default dict }}
{{- if and .root.Values.autoscaling.enabled $own.enabled }}true{{ end }}
{{- end }}

{{/* An HPA; `metrics` is the text of its list. */}}
{{- define "webhook-service.horizontalPodAutoscaler" -}}
{{- $own := (include "webhook-service.deploymentValues" . | fromJson).autoscaling }}
apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata:
  {{- include "webhook-service.metadata" . | nindent 2 }}
spec:
  scaleTargetRef:
    apiVersion: apps/v1
    kind: Deployment
    name: {{ include "webhook-service.fullname" .root }}-{{ .component }}
  minReplicas: {{ $own.minReplicas }}
  maxReplicas: {{ $own.maxReplicas }}
  metrics:
    {{- .metrics | trim | nindent 4 }}
  behavior:
    {{- toYaml $own.behavior | nindent 4 }}
{{- end }}

{{/* By CPU time, of what the pods ask for. */}}
{{- define "webhook-service.cpuAutoscaler" -}}
{{- $own := (include "webhook-service.deploymentValues" . | fromJson).autoscaling }}
{{- $metrics := list (dict "type" "Resource" "resource" (dict "name" "cpu" "target" (dict "type" "Utilization" "averageUtilization" (int $own.targetCPUPercent)))) | toYaml }}
{{- include "webhook-service.horizontalPodAutoscaler" (merge (dict "metrics" $metrics) .) }}
{{- end }}

{{/* By the depth of the queue, and by busy slots. */}}
{{- define "webhook-service.queueAutoscaler" -}}
{{- $own := (include "webhook-service.deploymentValues" . | fromJson).autoscaling }}
{{- $metrics := include "webhook-service.externalMetric" (dict "root" .root "name" "webhook_queue_depth" "target" $own.targetQueueDepth) }}
{{- with $own.targetBusySlots }}
{{- $metrics = printf "%s\n%s" $metrics (include "webhook-service.externalMetric" (dict "root" $.root "name" "webhook_busy_workers" "target" (printf "%dm" (round (mulf . 1000) 0 | int)))) }}
{{- end }}
{{- include "webhook-service.horizontalPodAutoscaler" (merge (dict "metrics" $metrics) .) }}
{{- end }}

{{/* Of an HPA, one metric of this release: (dict "root" $ "name" "webhook_queue_depth" "target" 100). */}}
{{- define "webhook-service.externalMetric" -}}
- type: External
  external:
    metric:
      name: {{ .name }}
      selector:
        matchLabels:
          namespace: {{ .root.Release.Namespace | quote }}
          release: {{ .root.Release.Name | quote }}
    target:
      # The whole over the target, whatever number of workers is ready: none is while Postgres is away.
      type: AverageValue
      averageValue: {{ .target | quote }}
{{- end }}
