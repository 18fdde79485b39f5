{{/* Whether a component logs in as externalPostgresql.runtimeUser. Analytics makes and drops partitions, as their owner, and
a process has one pool. */}}
{{- define "webhook-service.runtimeUser" -}}
{{- $roles := include "webhook-service.roles" (merge (dict) . (dict "component" "")) | fromJsonArray }}
{{- if and (not .root.Values.postgresql.enabled) .root.Values.externalPostgresql.runtimeUser $roles (not (has "analytics" $roles)) -}}
true
{{- end }}
{{- end }}

{{/* Where Postgres is, as entries of env: (dict "root" $ "direct" true) for who must go past a pooler. What must be set for it
is checked in _checks.tpl. */}}
{{- define "webhook-service.postgresEnv" -}}
{{- $external := .root.Values.externalPostgresql }}
{{- $runtime := include "webhook-service.runtimeUser" . }}
{{- $full := include "webhook-service.fullname" .root }}
{{- if .root.Values.postgresql.enabled }}
- name: POSTGRES_HOST
  value: {{ $full }}-postgresql
- name: POSTGRES_PORT
  value: "5432"
- name: POSTGRES_USER
  value: webhook
- name: POSTGRES_DB
  value: webhook
- name: POSTGRES_PASSWORD
  valueFrom:
    secretKeyRef:
      name: {{ $full }}-stores
      key: postgres-password
{{- else }}
{{- $urlKey := $external.databaseUrlKey }}
{{- $user := $external.user }}
{{- $passwordKey := $external.passwordKey }}
{{- if $runtime }}
{{- $user = $external.runtimeUser }}
{{- if $urlKey }}
{{- $urlKey = $external.runtimeUrlKey }}
{{- else if $external.existingSecret }}
{{- $passwordKey = $external.runtimePasswordKey }}
{{- end }}
{{- end }}
{{- $host := $external.host }}
{{- $port := $external.port }}
{{- if .direct }}
{{- $urlKey = $external.directUrlKey | default (ternary "" $urlKey (ne $external.directHost "")) }}
{{- if $external.directHost }}
{{- $host = $external.directHost }}
{{- $port = $external.directPort }}
{{- end }}
{{- end }}
{{- if $urlKey }}
- name: DATABASE_URL
  valueFrom:
    secretKeyRef:
      name: {{ $external.existingSecret }}
      key: {{ $urlKey }}
{{- else }}
- name: POSTGRES_HOST
  value: {{ $host | quote }}
- name: POSTGRES_PORT
  value: {{ $port | int | quote }}
- name: POSTGRES_USER
  value: {{ $user | quote }}
- name: POSTGRES_DB
  value: {{ $external.database | quote }}
{{- with $external.existingSecret }}
- name: POSTGRES_PASSWORD
  valueFrom:
    secretKeyRef:
      name: {{ . }}
      key: {{ $passwordKey }}
{{- end }}
{{- end }}
{{- with $external.sslMode }}
- name: PGSSLMODE
  value: {{ . }}
{{- end }}
{{- if $external.caSecret }}
- name: PGSSLROOTCERT
  value: /etc/webhook/postgres/{{ $external.caKey }}
{{- end }}
{{- end }}
{{- end }}

{{- define "webhook-service.redisPlaceEnv" -}}
{{- $external := .root.Values.externalRedis }}
{{- $full := include "webhook-service.fullname" .root }}
{{- if .root.Values.redis.enabled }}
- name: REDIS_ADDR
  value: {{ $full }}-redis:6379
- name: REDIS_PASSWORD
  valueFrom:
    secretKeyRef:
      name: {{ $full }}-stores
      key: redis-password
{{- else if $external.urlKey }}
- name: REDIS_URL
  valueFrom:
    secretKeyRef:
      name: {{ $external.existingSecret }}
      key: {{ $external.urlKey }}
{{- else if $external.url }}
- name: REDIS_URL
  value: {{ $external.url | quote }}
{{- else }}
- name: REDIS_ADDR
  value: {{ $external.addr | quote }}
- name: REDIS_DB
  value: {{ $external.database | int | quote }}
{{- with $external.passwordKey }}
- name: REDIS_PASSWORD
  valueFrom:
    secretKeyRef:
      name: {{ $external.existingSecret }}
      key: {{ . }}
{{- end }}
{{- end }}
{{- end }}

{{/* With the file of authorities: a variable of its own, because the URL may be in a Secret. */}}
{{- define "webhook-service.redisEnv" -}}
{{- include "webhook-service.redisPlaceEnv" . }}
{{- $external := .root.Values.externalRedis }}
{{- if and (not .root.Values.redis.enabled) $external.caSecret }}
- name: REDIS_CA_FILE
  value: /etc/webhook/redis/{{ $external.caKey | default "ca.crt" }}
{{- end }}
{{- end }}

{{/* The database with the outbox, and the key that the relay shows, as entries of env. */}}
{{- define "webhook-service.outboxEnv" -}}
{{- $relay := .root.Values.relay }}
- name: OUTBOX_DATABASE_URL
  valueFrom:
    secretKeyRef:
      name: {{ $relay.existingSecret }}
      key: {{ $relay.urlKey }}
{{- with $relay.apiKeyKey }}
- name: OUTBOX_API_KEY
  valueFrom:
    secretKeyRef:
      name: {{ $relay.existingSecret }}
      key: {{ . }}
{{- end }}
{{- end }}

{{/* The authorities of both stores: volumes, and where they are mounted. */}}
{{- define "webhook-service.authorityVolumes" -}}
{{- if and (not .Values.postgresql.enabled) .Values.externalPostgresql.caSecret }}
- name: postgres-ca
  secret:
    secretName: {{ .Values.externalPostgresql.caSecret }}
{{- end }}
{{- if and (not .Values.redis.enabled) .Values.externalRedis.caSecret }}
- name: redis-ca
  secret:
    secretName: {{ .Values.externalRedis.caSecret }}
{{- end }}
{{- end }}

{{- define "webhook-service.authorityMounts" -}}
{{- if and (not .Values.postgresql.enabled) .Values.externalPostgresql.caSecret }}
- name: postgres-ca
  mountPath: /etc/webhook/postgres
  readOnly: true
{{- end }}
{{- if and (not .Values.redis.enabled) .Values.externalRedis.caSecret }}
- name: redis-ca
  mountPath: /etc/webhook/redis
  readOnly: true
{{- end }}
{{- end }}
