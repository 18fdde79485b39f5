{{/* What every Deployment of the service has: (dict "root" $ "component" "ingest"). Its roles are those of its layout. */}}

{{/* The values of a component's pods, as JSON: its own where it has them, else those of all. Maps of labels, annotations
and nodes are put together, its own on top. */}}
{{- define "webhook-service.podValues" -}}
{{- $values := .root.Values }}
{{- $own := $values.migrations }}
{{- if ne .component "migrate" }}{{ $own = include "webhook-service.deploymentValues" . | fromJson }}{{ end }}
{{- /* Nobody connects to a worker or a relay: there is nothing to wait for before it stops. */}}
{{- $found := dict "preStopSeconds" (ternary 0 $values.shutdown.preStopSeconds (has (include "webhook-service.roles" .) (list `["worker"]` `["relay"]`))) }}
{{- range list "nodeSelector" "podLabels" "podAnnotations" }}
{{- $_ := set $found . (merge (dict) (get $own . | default dict) (get $values . | default dict)) }}
{{- end }}
{{- range list "tolerations" "affinity" "topologySpread" "priorityClassName" "runtimeClassName" "dnsPolicy" "dnsConfig" "hostAliases" "podSecurityContext" "securityContext" "extraInitContainers" "extraContainers" "extraEnvFrom" }}
{{- $_ := set $found . (get $values .) }}
{{- end }}
{{- range $name, $value := $own }}
{{- if and (hasKey $found $name) (not (kindIs "invalid" $value)) (not (has $name (list "nodeSelector" "podLabels" "podAnnotations"))) }}
{{- $_ := set $found $name $value }}
{{- end }}
{{- end }}
{{- $found | toJson }}
{{- end }}

{{- define "webhook-service.config" -}}
{{- $values := .root.Values }}
{{- $full := include "webhook-service.fullname" .root }}
{{- $egress := $values.egressAllow }}
{{- if $values.tests.enabled }}
{{- $egress = append $egress (printf "%s-test-receiver:8080" $full) }}
{{- end }}
{{- $set := dict
  "ENV" "production"
  "METRICS_PORT" "9090"
  "SHUTDOWN_GRACE_SECONDS" (include "webhook-service.text" $values.shutdown.graceSeconds)
  "DRAIN_SECONDS" (include "webhook-service.text" (include "webhook-service.podValues" . | fromJson).preStopSeconds)
  "PORT" "8080"
  "INGEST_ADDR" (printf "dns:///%s-ingest:50051" $full)
  "DELIVERY_ADDR" (printf "dns:///%s-delivery:50052" $full)
  "ANALYTICS_ADDR" (printf "dns:///%s-analytics:50053" $full)
  "EGRESS_ALLOW" (join "," $egress)
}}
{{- /* A process with several roles listens on the usual port of each. */}}
{{- $connections := .root.Files.Get "files/connections.yaml" | fromYaml }}
{{- $ports := list }}
{{- range include "webhook-service.roles" . | fromJsonArray }}
{{- if has . $connections.grpc }}{{ $ports = append $ports (get $connections.ports .) }}{{ end }}
{{- end }}
{{- if eq (len $ports) 1 }}{{ $_ := set $set "GRPC_PORT" (first $ports | toString) }}{{ end }}
{{- $set = merge $set (include "webhook-service.tracingVariables" . | fromYaml) (include "webhook-service.oidcVariables" . | fromYaml) }}
{{- if $values.grpcTls.enabled }}
{{- $_ := merge $set (dict "GRPC_TLS_CERT_FILE" "/etc/webhook/grpc/tls.crt" "GRPC_TLS_KEY_FILE" "/etc/webhook/grpc/tls.key" "GRPC_TLS_CA_FILE" "/etc/webhook/grpc/ca.crt") }}
{{- end }}
{{- range $name := include "webhook-service.variables" . | fromJsonArray }}
{{- if hasKey $set $name }}
{{ $name }}: {{ get $set $name | quote }}
{{- else if and (hasKey $values.settings $name) (not (kindIs "invalid" (get $values.settings $name))) }}
{{ $name }}: {{ include "webhook-service.text" (get $values.settings $name) | quote }}
{{- end }}
{{- end }}
{{- end }}

{{- define "webhook-service.configMap" -}}
apiVersion: v1
kind: ConfigMap
metadata:
  {{- include "webhook-service.metadata" . | nindent 2 }}
data:
  {{- include "webhook-service.config" . | trim | nindent 2 }}
{{- end }}

{{- define "webhook-service.serviceAccount" -}}
{{- if .root.Values.serviceAccount.create -}}
{{- $own := (get .root.Values (ternary "migrations" .component (eq .component "migrate"))).serviceAccount | default dict }}
{{- $annotations := merge (dict) ($own.annotations | default dict) .root.Values.serviceAccount.annotations -}}
apiVersion: v1
kind: ServiceAccount
metadata:
  {{- include "webhook-service.metadata" (merge (dict "annotations" $annotations) .) | nindent 2 }}
automountServiceAccountToken: false
{{- end }}
{{- end }}

{{- define "webhook-service.podDisruptionBudget" -}}
{{- if .root.Values.podDisruptionBudget.enabled -}}
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata:
  {{- include "webhook-service.metadata" . | nindent 2 }}
spec:
  maxUnavailable: {{ .root.Values.podDisruptionBudget.maxUnavailable }}
  # A pod that is not ready protects nothing: without this it could block a drain indefinitely.
  unhealthyPodEvictionPolicy: AlwaysAllow
  selector:
    matchLabels:
      {{- include "webhook-service.selectorLabels" . | nindent 6 }}
{{- end }}
{{- end }}

{{/* Where a ServiceMonitor finds the metrics of a component's pods. */}}
{{- define "webhook-service.metricsPort" -}}
- name: metrics
  port: 9090
  targetPort: metrics
  protocol: TCP
{{- end }}

{{/* Of which IP families a Service is, where a value says it: (dict "root" $ "own" …). */}}
{{- define "webhook-service.ipFamilies" -}}
{{- $own := .own | default dict }}
{{- with $own.ipFamilyPolicy | default .root.Values.ipFamilyPolicy }}
ipFamilyPolicy: {{ . }}
{{- end }}
{{- with $own.ipFamilies | default .root.Values.ipFamilies }}
ipFamilies:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{/* Of a role, not of a Deployment; headless, so that clients see every pod and balance calls, not connections. */}}
{{- define "webhook-service.grpcService" -}}
apiVersion: v1
kind: Service
metadata:
  {{- include "webhook-service.metadata" . | nindent 2 }}
spec:
  clusterIP: None
  {{- with include "webhook-service.ipFamilies" . | trim }}
  {{- . | nindent 2 }}
  {{- end }}
  selector:
    {{- include "webhook-service.roleSelectorLabels" (dict "root" .root "role" .component) | nindent 4 }}
  ports:
    - name: grpc
      port: {{ .port }}
      targetPort: grpc-{{ .component }}
      protocol: TCP
    {{- include "webhook-service.metricsPort" . | nindent 4 }}
{{- end }}

{{/* What the pods of the service and of the Job share. */}}
{{- define "webhook-service.podSpec" -}}
{{- $pod := include "webhook-service.podValues" . | fromJson }}
serviceAccountName: {{ include "webhook-service.serviceAccountName" . }}
automountServiceAccountToken: false
# A Service called `postgres` would set POSTGRES_PORT to a URL.
enableServiceLinks: false
{{- with include "webhook-service.imagePullSecrets" .root }}
imagePullSecrets:
  {{- . | nindent 2 }}
{{- end }}
securityContext:
  {{- toYaml $pod.podSecurityContext | nindent 2 }}
{{- $said := dict }}
{{- range $name := list "priorityClassName" "runtimeClassName" "dnsPolicy" "dnsConfig" "hostAliases" "nodeSelector" "tolerations" "affinity" }}
{{- with get $pod $name }}{{ $_ := set $said $name . }}{{ end }}
{{- end }}
{{- with $said }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- define "webhook-service.deployment" -}}
{{- $root := .root }}
{{- $own := include "webhook-service.deploymentValues" . | fromJson }}
{{- $roles := include "webhook-service.roles" . | fromJsonArray }}
{{- $connections := $root.Files.Get "files/connections.yaml" | fromYaml }}
{{- $variables := include "webhook-service.variables" . | fromJsonArray }}
{{- $postgres := has "POSTGRES_HOST" $variables }}
{{- $mounts := include "webhook-service.authorityMounts" $root }}
{{- $tls := and $root.Values.grpcTls.enabled (has "GRPC_TLS_CERT_FILE" $variables) }}
{{- $pod := include "webhook-service.podValues" . | fromJson }}
apiVersion: apps/v1
kind: Deployment
metadata:
  {{- include "webhook-service.metadata" (merge (dict "labels" (include "webhook-service.roleLabels" $roles | fromYaml)) .) | nindent 2 }}
spec:
  {{- if not (include "webhook-service.autoscaled" .) }}
  replicas: {{ $own.replicas }}
  {{- end }}
  revisionHistoryLimit: {{ $root.Values.revisionHistoryLimit }}
  minReadySeconds: {{ $own.minReadySeconds }}
  strategy:
    type: RollingUpdate
    rollingUpdate:
      maxSurge: 25%
      maxUnavailable: 0
  selector:
    matchLabels:
      {{- include "webhook-service.selectorLabels" . | nindent 6 }}
  template:
    metadata:
      labels:
        {{- include "webhook-service.podLabels" . | nindent 8 }}
      annotations:
        {{- $checksums := dict "checksum/config" (include "webhook-service.config" . | sha256sum) }}
        {{- with $root.Values.secretsChecksum }}{{ $_ := set $checksums "checksum/secrets" . }}{{ end }}
        {{- merge $checksums $pod.podAnnotations $root.Values.commonAnnotations | toYaml | nindent 8 }}
    spec:
      {{- include "webhook-service.podSpec" . | nindent 6 }}
      {{- with $pod.topologySpread }}
      topologySpreadConstraints:
        {{- range . }}
        - {{ toYaml . | nindent 10 | trim }}
          labelSelector:
            matchLabels:
              {{- include "webhook-service.selectorLabels" $ | nindent 14 }}
          matchLabelKeys: [pod-template-hash]
        {{- end }}
      {{- end }}
      # DRAIN_SECONDS, the grace of the process, and 10 s to close what is open.
      terminationGracePeriodSeconds: {{ add (int $pod.preStopSeconds) $root.Values.shutdown.graceSeconds 10 }}
      {{- if or $postgres $pod.extraInitContainers }}
      initContainers:
        {{- with $pod.extraInitContainers }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
      {{- end }}
      {{- if $postgres }}
        - name: wait-for-schema
          image: {{ include "webhook-service.ownImage" $root }}
          imagePullPolicy: {{ $root.Values.image.pullPolicy }}
          args: [wait]
          env:
            {{- include "webhook-service.postgresEnv" . | trim | nindent 12 }}
          resources:
            {{- toYaml $root.Values.migrations.resources | nindent 12 }}
          securityContext:
            {{- toYaml $pod.securityContext | nindent 12 }}
          volumeMounts:
            - name: tmp
              mountPath: /tmp
            {{- with $mounts }}
            {{- . | trim | nindent 12 }}
            {{- end }}
      {{- end }}
      containers:
        - name: {{ .component }}
          image: {{ include "webhook-service.ownImage" $root }}
          imagePullPolicy: {{ $root.Values.image.pullPolicy }}
          args: [{{ join ", " $roles }}]
          envFrom:
            {{- with $pod.extraEnvFrom }}
            {{- toYaml . | nindent 12 }}
            {{- end }}
            - configMapRef:
                name: {{ include "webhook-service.fullname" $root }}-{{ .component }}
          {{- $env := list (include "webhook-service.keysEnv" . | trim) }}
          {{- if $postgres }}
          {{- $env = append $env (include "webhook-service.postgresEnv" . | trim) }}
          {{- end }}
          {{- if has "REDIS_ADDR" $variables }}
          {{- $env = append $env (include "webhook-service.redisEnv" . | trim) }}
          {{- end }}
          {{- if has "OUTBOX_DATABASE_URL" $variables }}
          {{- $env = append $env (include "webhook-service.outboxEnv" . | trim) }}
          {{- end }}
          {{- $env = append $env (include "webhook-service.tracingEnv" . | trim) }}
          {{- $env = append $env (include "webhook-service.oidcEnv" . | trim) }}
          {{- with $own.extraEnv }}
          {{- $env = append $env (toYaml .) }}
          {{- end }}
          {{- with compact $env }}
          env:
            {{- join "\n" . | nindent 12 }}
          {{- end }}
          ports:
            {{- range $role := $roles }}
            {{- with get $connections.ports $role }}
            - name: {{ has $role $connections.grpc | ternary (printf "grpc-%s" $role) "http" }}
              containerPort: {{ . }}
              protocol: TCP
            {{- end }}
            {{- end }}
            - name: metrics
              containerPort: 9090
              protocol: TCP
          startupProbe:
            httpGet:
              path: /healthz
              port: metrics
            {{- toYaml $root.Values.probes.startup | nindent 12 }}
          readinessProbe:
            httpGet:
              path: /readyz
              port: metrics
            {{- toYaml $root.Values.probes.readiness | nindent 12 }}
          livenessProbe:
            httpGet:
              path: /healthz
              port: metrics
            {{- toYaml $root.Values.probes.liveness | nindent 12 }}
          resources:
            {{- toYaml $own.resources | nindent 12 }}
          securityContext:
            {{- toYaml $pod.securityContext | nindent 12 }}
          volumeMounts:
            - name: tmp
              mountPath: /tmp
            {{- with $mounts }}
            {{- if $postgres }}
            {{- . | trim | nindent 12 }}
            {{- end }}
            {{- end }}
            {{- if $tls }}
            - name: grpc-tls
              mountPath: /etc/webhook/grpc
              readOnly: true
            {{- end }}
            {{- with include "webhook-service.tracingMounts" $root }}
            {{- . | trim | nindent 12 }}
            {{- end }}
            {{- with $own.extraVolumeMounts }}
            {{- toYaml . | nindent 12 }}
            {{- end }}
        {{- with $pod.extraContainers }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
      volumes:
        - name: tmp
          emptyDir:
            sizeLimit: 64Mi
        {{- with include "webhook-service.authorityVolumes" $root }}
        {{- if $postgres }}
        {{- . | trim | nindent 8 }}
        {{- end }}
        {{- end }}
        {{- if $tls }}
        - name: grpc-tls
          secret:
            secretName: {{ include "webhook-service.grpcTlsSecret" $root }}
        {{- end }}
        {{- with include "webhook-service.tracingVolumes" $root }}
        {{- . | trim | nindent 8 }}
        {{- end }}
        {{- with $own.extraVolumes }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
{{- end }}
