{{- define "webhook-service.migration" -}}
{{- $root := .root -}}
backoffLimit: {{ $root.Values.migrations.backoffLimit }}
# A migration that fails fails again, and so does a wrong setting: the first try ends the Job, and the install that waits for
# it. Tries are for a Postgres that is away, and none is used up by a node that goes.
{{- /* In the schema of 1.27 no rule can do without onPodConditions. */}}
{{- if semverCompare ">=1.28-0" $root.Capabilities.KubeVersion.Version }}
podFailurePolicy:
  rules:
    - action: FailJob
      onExitCodes:
        containerName: migrate
        operator: In
        values: [2, 3]
    - action: Ignore
      onPodConditions:
        - type: DisruptionTarget
          status: "True"
{{- end }}
{{- if not (kindIs "invalid" $root.Values.migrations.ttlSecondsAfterFinished) }}
ttlSecondsAfterFinished: {{ $root.Values.migrations.ttlSecondsAfterFinished }}
{{- end }}
template:
  metadata:
    labels:
      {{- include "webhook-service.podLabels" . | nindent 6 }}
    {{- with merge (dict) $root.Values.podAnnotations $root.Values.commonAnnotations }}
    annotations:
      {{- toYaml . | nindent 6 }}
    {{- end }}
  spec:
    {{- include "webhook-service.podSpec" . | nindent 4 }}
    # A new pod for each try, so that the words of the failed one stay.
    restartPolicy: Never
    {{- with (include "webhook-service.podValues" . | fromJson).extraInitContainers }}
    initContainers:
      {{- toYaml . | nindent 6 }}
    {{- end }}
    containers:
      - name: migrate
        image: {{ include "webhook-service.ownImage" $root }}
        imagePullPolicy: {{ $root.Values.image.pullPolicy }}
        args: [migrate]
        # Its last line says why it failed, in the status of the pod.
        terminationMessagePolicy: FallbackToLogsOnError
        env:
          {{- include "webhook-service.postgresEnv" (dict "root" $root "direct" true) | trim | nindent 10 }}
          {{- if and (not $root.Values.postgresql.enabled) $root.Values.externalPostgresql.runtimeUser }}
          - name: POSTGRES_RUNTIME_USER
            value: {{ $root.Values.externalPostgresql.runtimeUser | quote }}
          {{- end }}
        resources:
          {{- toYaml $root.Values.migrations.resources | nindent 10 }}
        securityContext:
          {{- toYaml $root.Values.securityContext | nindent 10 }}
        volumeMounts:
          - name: tmp
            mountPath: /tmp
          {{- with include "webhook-service.authorityMounts" $root }}
          {{- . | trim | nindent 10 }}
          {{- end }}
    volumes:
      - name: tmp
        emptyDir:
          sizeLimit: 64Mi
      {{- with include "webhook-service.authorityVolumes" $root }}
      {{- . | trim | nindent 6 }}
      {{- end }}
{{- end }}
