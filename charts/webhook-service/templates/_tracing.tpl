{{/* Where spans go and what is traced: variables by name, as YAML. None of them without an endpoint. */}}
{{- define "webhook-service.tracingVariables" -}}
{{- $tracing := .root.Values.tracing }}
{{- if $tracing.endpoint }}
{{- $attributes := merge (dict) $tracing.resourceAttributes (dict
  "k8s.namespace.name" .root.Release.Namespace
  "k8s.deployment.name" (printf "%s-%s" (include "webhook-service.fullname" .root) .component)
) }}
{{- $pairs := list }}
{{- range $key, $value := $attributes }}
{{- $pairs = append $pairs (printf "%s=%s" $key ($value | replace "%" "%25" | replace "," "%2C")) }}
{{- end }}
OTEL_EXPORTER_OTLP_ENDPOINT: {{ $tracing.endpoint | quote }}
OTEL_RESOURCE_ATTRIBUTES: {{ join "," $pairs | quote }}
OTEL_TRACES_SAMPLER_ARG: {{ include "webhook-service.text" $tracing.sampleRatio | quote }}
TRACING_TRUST_CALLERS: {{ $tracing.trustCallers | quote }}
TRACING_TO_RECEIVERS: {{ $tracing.toReceivers | quote }}
{{- if $tracing.caSecret }}
OTEL_EXPORTER_OTLP_CERTIFICATE: {{ printf "/etc/webhook/tracing/%s" $tracing.caKey | quote }}
{{- end }}
{{- end }}
{{- end }}

{{/* What of that is a secret, as entries of env. */}}
{{- define "webhook-service.tracingEnv" -}}
{{- with .root.Values.tracing }}
{{- if and .endpoint .headersSecret }}
- name: OTEL_EXPORTER_OTLP_HEADERS
  valueFrom:
    secretKeyRef:
      name: {{ .headersSecret }}
      key: {{ .headersKey }}
{{- end }}
{{- end }}
{{- end }}

{{- define "webhook-service.tracingVolumes" -}}
{{- with .Values.tracing }}
{{- if and .endpoint .caSecret }}
- name: tracing-ca
  secret:
    secretName: {{ .caSecret }}
{{- end }}
{{- end }}
{{- end }}

{{- define "webhook-service.tracingMounts" -}}
{{- with .Values.tracing }}
{{- if and .endpoint .caSecret }}
- name: tracing-ca
  mountPath: /etc/webhook/tracing
  readOnly: true
{{- end }}
{{- end }}
{{- end }}
