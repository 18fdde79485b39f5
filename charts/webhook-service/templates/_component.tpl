{{/* What every component has: (dict "root" $ "component" "ingest" "port" 50051 "portName" "grpc"). */}}

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
  "DRAIN_SECONDS" (include "webhook-service.text" $values.shutdown.preStopSeconds)
  "PORT" "8080"
  "GRPC_PORT" (.port | toString)
  "INGEST_ADDR" (printf "dns:///%s-ingest:50051" $full)
  "DELIVERY_ADDR" (printf "dns:///%s-delivery:50052" $full)
  "ANALYTICS_ADDR" (printf "dns:///%s-analytics:50053" $full)
  "EGRESS_ALLOW" (join "," $egress)
}}
{{- $set = merge $set (include "webhook-service.tracingVariables" . | fromYaml) }}
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
apiVersion: v1
kind: ServiceAccount
metadata:
  {{- include "webhook-service.metadata" (merge (dict "annotations" .root.Values.serviceAccount.annotations) .) | nindent 2 }}
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
  # A pod that is not ready protects nothing: without this it could hold up a drain for ever.
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

{{/* Headless, so that clients see every pod and balance calls, not connections. */}}
{{- define "webhook-service.grpcService" -}}
apiVersion: v1
kind: Service
metadata:
  {{- include "webhook-service.metadata" . | nindent 2 }}
spec:
  clusterIP: None
  selector:
    {{- include "webhook-service.selectorLabels" . | nindent 4 }}
  ports:
    - name: grpc
      port: {{ .port }}
      targetPort: grpc
      protocol: TCP
    {{- include "webhook-service.metricsPort" . | nindent 4 }}
{{- end }}

{{/* What the pods of the service and of the Job share. */}}
{{- define "webhook-service.podSpec" -}}
serviceAccountName: {{ include "webhook-service.serviceAccountName" . }}
automountServiceAccountToken: false
# A Service called `postgres` would set POSTGRES_PORT to a URL.
enableServiceLinks: false
{{- with .root.Values.imagePullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .root.Values.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
securityContext:
  {{- toYaml .root.Values.podSecurityContext | nindent 2 }}
{{- with merge (dict) ((get .root.Values .component | default dict).nodeSelector | default dict) .root.Values.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .root.Values.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{- define "webhook-service.deployment" -}}
{{- $root := .root }}
{{- $own := get $root.Values .component }}
{{- $variables := include "webhook-service.variables" . | fromJsonArray }}
{{- $postgres := has "POSTGRES_HOST" $variables }}
{{- $mounts := include "webhook-service.authorityMounts" $root }}
{{- $tls := and $root.Values.grpcTls.enabled (has "GRPC_TLS_CERT_FILE" $variables) }}
apiVersion: apps/v1
kind: Deployment
metadata:
  {{- include "webhook-service.metadata" . | nindent 2 }}
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
        {{- merge (dict "checksum/config" (include "webhook-service.config" . | sha256sum)) $own.podAnnotations $root.Values.podAnnotations $root.Values.commonAnnotations | toYaml | nindent 8 }}
    spec:
      {{- include "webhook-service.podSpec" . | nindent 6 }}
      {{- with $root.Values.affinity }}
      affinity:
        {{- toYaml . | nindent 8 }}
      {{- end }}
      {{- with $root.Values.topologySpread }}
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
      terminationGracePeriodSeconds: {{ add $root.Values.shutdown.preStopSeconds $root.Values.shutdown.graceSeconds 10 }}
      {{- if $postgres }}
      initContainers:
        - name: wait-for-schema
          image: {{ include "webhook-service.ownImage" $root }}
          imagePullPolicy: {{ $root.Values.image.pullPolicy }}
          command: [python, scripts/schema.py, wait]
          env:
            {{- include "webhook-service.postgresEnv" . | trim | nindent 12 }}
          resources:
            {{- toYaml $root.Values.migrations.resources | nindent 12 }}
          securityContext:
            {{- toYaml $root.Values.securityContext | nindent 12 }}
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
          args: [{{ .component }}]
          envFrom:
            - configMapRef:
                name: {{ include "webhook-service.fullname" $root }}-{{ .component }}
          {{- $env := list (include "webhook-service.keysEnv" . | trim) }}
          {{- if $postgres }}
          {{- $env = append $env (include "webhook-service.postgresEnv" . | trim) }}
          {{- end }}
          {{- if has "REDIS_ADDR" $variables }}
          {{- $env = append $env (include "webhook-service.redisEnv" . | trim) }}
          {{- end }}
          {{- $env = append $env (include "webhook-service.tracingEnv" . | trim) }}
          {{- with $own.extraEnv }}
          {{- $env = append $env (toYaml .) }}
          {{- end }}
          {{- with compact $env }}
          env:
            {{- join "\n" . | nindent 12 }}
          {{- end }}
          ports:
            {{- if .port }}
            - name: {{ .portName }}
              containerPort: {{ .port }}
              protocol: TCP
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
            {{- toYaml $root.Values.securityContext | nindent 12 }}
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
