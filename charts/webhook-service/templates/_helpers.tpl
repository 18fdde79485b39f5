{{- define "webhook-service.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 40 | trimSuffix "-" }}
{{- end }}

{{/* At most 40 characters, so that every name made of it has at most 63. What is cut is told apart by a hash. */}}
{{- define "webhook-service.fullname" -}}
{{- $name := default .Chart.Name .Values.nameOverride }}
{{- $full := .Values.fullnameOverride | default (contains $name .Release.Name | ternary .Release.Name (printf "%s-%s" .Release.Name $name)) }}
{{- if gt (len $full) 40 }}
{{- $full = printf "%s-%s" ($full | trunc 31 | trimSuffix "-") (sha256sum $full | trunc 8) }}
{{- end }}
{{- $full | trimSuffix "-" }}
{{- end }}

{{/* What selects the pods of a component: (dict "root" $ "component" "worker"). Never changes. */}}
{{- define "webhook-service.selectorLabels" -}}
app.kubernetes.io/name: {{ include "webhook-service.name" .root }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .component }}
{{- end }}

{{- define "webhook-service.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" }}
{{ include "webhook-service.selectorLabels" . }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
{{- with .root.Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* Without the chart's version: a new chart of the same image restarts nothing. */}}
{{- define "webhook-service.podLabels" -}}
{{- $all := include "webhook-service.labels" . | fromYaml }}
{{- merge (omit $all "helm.sh/chart") .root.Values.podLabels | toYaml }}
{{- end }}

{{/* Name, namespace, labels and annotations:
(dict "root" $ "component" "worker" "name" … "labels" (dict …) "annotations" (dict …)). */}}
{{- define "webhook-service.metadata" -}}
name: {{ .name | default (printf "%s-%s" (include "webhook-service.fullname" .root) .component) }}
namespace: {{ .root.Release.Namespace }}
labels:
  {{- include "webhook-service.labels" . | nindent 2 }}
  {{- with .labels }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- with merge (dict) (.annotations | default dict) .root.Values.commonAnnotations }}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{- define "webhook-service.image" -}}
{{- .repository }}{{ if .digest }}@{{ .digest }}{{ else }}:{{ .tag }}{{ end }}
{{- end }}

{{- define "webhook-service.ownImage" -}}
{{- include "webhook-service.image" (dict "repository" .Values.image.repository "digest" .Values.image.digest "tag" (.Values.image.tag | default .Chart.AppVersion)) }}
{{- end }}

{{- define "webhook-service.serviceAccountName" -}}
{{- if .root.Values.serviceAccount.create -}}
{{ include "webhook-service.fullname" .root }}-{{ .component }}
{{- else -}}
{{ .root.Values.serviceAccount.name }}
{{- end }}
{{- end }}

{{/* Which variables a component reads, as JSON: the services say it themselves. */}}
{{- define "webhook-service.variables" -}}
{{- index (.root.Files.Get "files/settings.json" | fromJson) .component | toJson }}
{{- end }}

{{/* A value as a variable's text: numbers without an exponent. */}}
{{- define "webhook-service.text" -}}
{{- if kindIs "string" . }}{{ . }}{{ else }}{{ toJson . }}{{ end }}
{{- end }}

{{- define "webhook-service.keysSecret" -}}
{{- .Values.secrets.existingSecret | default (printf "%s-keys" (include "webhook-service.fullname" .)) }}
{{- end }}

{{/* The keys that a component reads, as entries of env. A Secret that somebody else made has service keys for each process,
or one for all: what is missing is left out, and a process with neither says so. */}}
{{- define "webhook-service.keysEnv" -}}
{{- $secret := include "webhook-service.keysSecret" .root }}
{{- $brought := ne .root.Values.secrets.existingSecret "" }}
{{- range $variable, $key := .root.Files.Get "files/keys.yaml" | fromYaml }}
{{- if and (has $.component $key.readBy) (or $brought (ne $key.kind "sharedServiceKey")) }}
- name: {{ $variable }}
  valueFrom:
    secretKeyRef:
      name: {{ $secret }}
      key: {{ $key.key }}
      {{- if and $brought (hasSuffix "erviceKey" $key.kind) }}
      optional: true
      {{- end }}
{{- end }}
{{- end }}
{{- end }}

{{/* The Secret with the certificate of the processes. */}}
{{- define "webhook-service.grpcTlsSecret" -}}
{{- $tls := .Values.grpcTls }}
{{- if not (or $tls.existingSecret $tls.certificate.issuerRef) }}
{{- fail "grpcTls: set grpcTls.existingSecret, or grpcTls.certificate.issuerRef for one that cert-manager makes" }}
{{- end }}
{{- $tls.existingSecret | default (printf "%s-grpc-tls" (include "webhook-service.fullname" .)) }}
{{- end }}
