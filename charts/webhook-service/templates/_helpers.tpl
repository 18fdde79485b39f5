{{- define "webhook-service.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 40 | trimAll "-_." }}
{{- end }}

{{/* Names of Services are made of it: lower-case letters, digits and "-", a letter first, at most 40 characters, so that
every name with its ending has at most 63. A release or chart of another name is changed to fit, with a hash, so that
two of them never meet. */}}
{{- define "webhook-service.fullname" -}}
{{- $name := default .Chart.Name .Values.nameOverride }}
{{- $asked := .Values.fullnameOverride | default (contains $name .Release.Name | ternary .Release.Name (printf "%s-%s" .Release.Name $name)) }}
{{- $full := regexReplaceAll `[^a-z0-9-]+` (lower $asked) "-" | trimAll "-" }}
{{- if regexMatch `^[0-9]` $full }}{{ $full = printf "w%s" $full }}{{ end }}
{{- if or (ne $full $asked) (gt (len $full) 40) }}
{{- $full = printf "%s-%s" ($full | trunc 31 | trimSuffix "-") (sha256sum $asked | trunc 8) }}
{{- end }}
{{- $full }}
{{- end }}

{{/* What selects the pods of a component: (dict "root" $ "component" "worker"). Never changes. */}}
{{- define "webhook-service.selectorLabels" -}}
{{- dict "app.kubernetes.io/name" (include "webhook-service.name" .root) "app.kubernetes.io/instance" .root.Release.Name "app.kubernetes.io/component" .component | toYaml }}
{{- end }}

{{/* The chart's own labels, which no value replaces. */}}
{{- define "webhook-service.ownLabels" -}}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version | replace "+" "_" | trunc 63 | trimAll "-_." }}
{{ include "webhook-service.selectorLabels" . }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
{{- end }}

{{- define "webhook-service.labels" -}}
{{- merge (include "webhook-service.ownLabels" . | fromYaml) .root.Values.commonLabels | toYaml }}
{{- end }}

{{/* Without the chart's version: a new chart of the same image restarts nothing. */}}
{{- define "webhook-service.podLabels" -}}
{{- $all := include "webhook-service.labels" . | fromYaml }}
{{- $ofRoles := include "webhook-service.roleLabels" (include "webhook-service.roles" . | fromJsonArray) | fromYaml }}
{{- merge (omit $all "helm.sh/chart") $ofRoles (include "webhook-service.podValues" . | fromJson).podLabels | toYaml }}
{{- end }}

{{/* Name, namespace, labels and annotations:
(dict "root" $ "component" "worker" "name" … "labels" (dict …) "annotations" (dict …)). */}}
{{- define "webhook-service.metadata" -}}
{{- include "webhook-service.check" .root }}
name: {{ .name | default (printf "%s-%s" (include "webhook-service.fullname" .root) .component) }}
namespace: {{ .root.Release.Namespace | quote }}
labels:
  {{- merge (dict) (.labels | default dict) (include "webhook-service.labels" . | fromYaml) | toYaml | nindent 2 }}
{{- with merge (dict) (.annotations | default dict) .root.Values.commonAnnotations }}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{/* An image by its name: (dict "root" $ "image" (dict "repository" … "tag" … "digest" …)). global.imageRegistry stands in
place of the registry, which is what comes before the first slash, if it has a dot or a port or is localhost. */}}
{{- define "webhook-service.image" -}}
{{- $repository := .image.repository }}
{{- with (.root.Values.global | default dict).imageRegistry }}
{{- $repository = printf "%s/%s" . (regexReplaceAll `^([^/]*[.:][^/]*|localhost)/` $repository "") }}
{{- end }}
{{- $repository }}{{ if .image.digest }}@{{ .image.digest }}{{ else }}:{{ .image.tag }}{{ end }}
{{- end }}

{{- define "webhook-service.ownImage" -}}
{{- include "webhook-service.image" (dict "root" . "image" (merge (dict "tag" (.Values.image.tag | default .Chart.AppVersion)) .Values.image)) }}
{{- end }}

{{/* The Secrets that images are pulled with, of this chart and of a parent, as YAML. */}}
{{- define "webhook-service.imagePullSecrets" -}}
{{- $secrets := .Values.imagePullSecrets }}
{{- range (.Values.global | default dict).imagePullSecrets }}
{{- $secrets = append $secrets (kindIs "string" . | ternary (dict "name" .) .) }}
{{- end }}
{{- with $secrets }}
{{- uniq . | toYaml }}
{{- end }}
{{- end }}

{{- define "webhook-service.serviceAccountName" -}}
{{- if .root.Values.serviceAccount.create -}}
{{ include "webhook-service.fullname" .root }}-{{ .component }}
{{- else -}}
{{ .root.Values.serviceAccount.name }}
{{- end }}
{{- end }}

{{/* Which variables the roles of a component read, as JSON: the services say it themselves. */}}
{{- define "webhook-service.variables" -}}
{{- $all := .root.Files.Get "files/settings.json" | fromJson }}
{{- $found := list }}
{{- range include "webhook-service.roles" . | fromJsonArray }}
{{- $found = concat $found (get $all .) }}
{{- end }}
{{- uniq $found | sortAlpha | toJson }}
{{- end }}

{{/* A value as a variable's text: numbers without an exponent. */}}
{{- define "webhook-service.text" -}}
{{- if kindIs "string" . }}{{ . }}{{ else }}{{ toJson . }}{{ end }}
{{- end }}

{{- define "webhook-service.keysSecret" -}}
{{- .Values.secrets.existingSecret | default (printf "%s-keys" (include "webhook-service.fullname" .)) }}
{{- end }}

{{/* The keys that the roles of a component read, as entries of env. A Secret that somebody else made has service keys for
each role, or one for all: what is missing is left out, and a process with neither says so. A relay with an API key needs
none. */}}
{{- define "webhook-service.keysEnv" -}}
{{- $secret := include "webhook-service.keysSecret" .root }}
{{- $brought := ne .root.Values.secrets.existingSecret "" }}
{{- $roles := include "webhook-service.roles" . | fromJsonArray }}
{{- if .root.Values.relay.apiKeyKey }}{{ $roles = without $roles "relay" }}{{ end }}
{{- range $variable, $key := .root.Files.Get "files/keys.yaml" | fromYaml }}
{{- $read := false }}
{{- range $key.readBy }}{{ if has . $roles }}{{ $read = true }}{{ end }}{{ end }}
{{- if and $read (or $brought (ne $key.kind "sharedServiceKey")) }}
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
{{- .Values.grpcTls.existingSecret | default (printf "%s-grpc-tls" (include "webhook-service.fullname" .)) }}
{{- end }}

{{/* The paths that lead to the gateway, as YAML: (dict "root" $ "console" BOOLEAN "portal" BOOLEAN), with those of the console,
and of portal links, or without. */}}
{{- define "webhook-service.publicPaths" -}}
{{- $paths := .root.Values.publicPaths | default (.root.Files.Get "files/public-paths.yaml" | fromYamlArray) }}
{{- if .console }}{{ $paths = concat $paths (.root.Files.Get "files/console-paths.yaml" | fromYamlArray) }}{{ end }}
{{- if .portal }}{{ $paths = concat $paths (.root.Files.Get "files/portal-paths.yaml" | fromYamlArray) }}{{ end }}
{{- $paths | toYaml }}
{{- end }}

{{/* The hosts that lead to the gateway, as YAML, from those of the API: a list of {hosts, console, portal, name}. The console and
the portal are on these, unless they have hosts of their own. */}}
{{- define "webhook-service.publicHosts" -}}
{{- $own := and .root.Values.console.enabled (gt (len .root.Values.console.hosts) 0) }}
{{- $portal := and .root.Values.portal.enabled (gt (len .root.Values.portal.hosts) 0) }}
{{- $name := printf "%s-gateway" (include "webhook-service.fullname" .root) }}
{{- $found := list (dict "hosts" .hosts "console" (and .root.Values.console.enabled (not $own)) "portal" (and .root.Values.portal.enabled (not $portal)) "name" $name) }}
{{- if $own }}{{ $found = append $found (dict "hosts" .root.Values.console.hosts "console" true "portal" false "name" (printf "%s-console" $name)) }}{{ end }}
{{- if $portal }}{{ $found = append $found (dict "hosts" .root.Values.portal.hosts "console" false "portal" true "name" (printf "%s-portal" $name)) }}{{ end }}
{{- $found | toYaml }}
{{- end }}
