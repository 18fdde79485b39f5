{{/* Addresses and networks, which templates of Helm know nothing of. */}}

{{/* The 16-bit groups of an address as a JSON list: 2 of IPv4, 8 of IPv6, none where the text is no address. */}}
{{- define "webhook-service.addressGroups" -}}
{{- $ipv4 := `((25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])\.){3}(25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])` }}
{{- $text := . }}
{{- $groups := list }}
{{- with regexFind (printf "%s$" $ipv4) $text }}
{{- $bytes := splitList "." . }}
{{- $groups = list (add (mul 256 (index $bytes 0 | int)) (index $bytes 1 | int)) (add (mul 256 (index $bytes 2 | int)) (index $bytes 3 | int)) }}
{{- if ne . $text }}
{{- /* An IPv6 address whose end is written as IPv4. */}}
{{- $text = printf "%s%x:%x" (trimSuffix . $text) (first $groups) (last $groups) }}
{{- end }}
{{- end }}
{{- if contains ":" $text }}
{{- $groups = list }}
{{- $halves := splitList "::" $text }}
{{- $valid := le (len $halves) 2 }}
{{- $sides := list }}
{{- range $half := $halves }}
{{- $side := list }}
{{- if $half }}
{{- range splitList ":" $half }}
{{- if regexMatch `^[0-9a-fA-F]{1,4}$` . }}
{{- $side = append $side (int64 (printf "0x%s" .)) }}
{{- else }}
{{- $valid = false }}
{{- end }}
{{- end }}
{{- end }}
{{- $sides = append $sides $side }}
{{- end }}
{{- $given := 0 }}
{{- range $sides }}{{ $given = add $given (len .) }}{{ end }}
{{- if and $valid (eq (len $sides) 2) (lt (int $given) 8) }}
{{- $groups = first $sides }}
{{- range until (int (sub 8 $given)) }}{{ $groups = append $groups 0 }}{{ end }}
{{- $groups = concat $groups (last $sides) }}
{{- else if and $valid (eq (len $sides) 1) (eq (int $given) 8) }}
{{- $groups = first $sides }}
{{- end }}
{{- else if not (regexMatch (printf "^%s$" $ipv4) $text) }}
{{- $groups = list }}
{{- end }}
{{- $groups | toJson }}
{{- end }}

{{/* The usual spelling of an address, from its groups as numbers: the longest run of zeros is "::". */}}
{{- define "webhook-service.addressText" -}}
{{- $groups := list }}
{{- range . }}{{ $groups = append $groups (int .) }}{{ end }}
{{- if eq (len $groups) 2 }}
{{- range $index, $group := $groups }}{{ if $index }}.{{ end }}{{ div $group 256 }}.{{ mod $group 256 }}{{ end }}
{{- else }}
{{- $parts := list }}
{{- range $groups }}{{ $parts = append $parts (printf "%x" .) }}{{ end }}
{{- $text := join ":" $parts }}
{{- $shortened := "" }}
{{- range $length := list 8 7 6 5 4 3 2 }}
{{- if not $shortened }}
{{- with regexFind (printf "(^|:)0(:0){%d}(:|$)" (sub $length 1)) $text }}
{{- $around := splitn . 2 $text }}
{{- $shortened = printf "%s::%s" $around._0 $around._1 }}
{{- end }}
{{- end }}
{{- end }}
{{- $shortened | default $text }}
{{- end }}
{{- end }}

{{/* A network, or an address as the network of itself, in its usual spelling and without bits beyond its prefix; nothing
where the text is neither. */}}
{{- define "webhook-service.network" -}}
{{- $parts := splitList "/" . }}
{{- $groups := include "webhook-service.addressGroups" (first $parts) | fromJsonArray }}
{{- $bits := mul 16 (len $groups) }}
{{- $prefix := ternary (last $parts) (toString $bits) (gt (len $parts) 1) }}
{{- if and $groups (le (len $parts) 2) (regexMatch `^(0|[1-9][0-9]{0,2})$` $prefix) }}
{{- if le (int $prefix) (int $bits) }}
{{- $left := int $prefix }}
{{- $masked := list }}
{{- range $groups }}
{{- $step := index (list 65536 32768 16384 8192 4096 2048 1024 512 256 128 64 32 16 8 4 2 1) (max 0 (min 16 $left)) }}
{{- $masked = append $masked (sub (int .) (mod (int .) $step)) }}
{{- $left = sub $left 16 }}
{{- end }}
{{- include "webhook-service.addressText" $masked }}/{{ $prefix }}
{{- end }}
{{- end }}
{{- end }}

{{/* What is wrong with a network of a NetworkPolicy, or nothing: (dict "path" "…cidr" "value" "10.0.0.1/8"). */}}
{{- define "webhook-service.networkProblem" -}}
{{- $network := include "webhook-service.network" .value }}
{{- if not (and $network (contains "/" .value)) }}
{{ .path }}: {{ .value | quote }} is not a network in CIDR form, such as 10.0.0.0/8 or 10.0.0.5/32
{{- else if ne $network .value }}
{{ .path }}: {{ .value | quote }} must be written {{ $network | quote }}
{{- end }}
{{- end }}

{{/* What is wrong with an entry of egressAllow, or nothing. Workers and ingest end at what is refused here. */}}
{{- define "webhook-service.egressProblem" -}}
{{- $network := include "webhook-service.network" . }}
{{- $forms := "a network in CIDR form, an address, a host name, *.zone or host:port" }}
{{- $host := regexReplaceAll `:[0-9]{1,5}$` . "" }}
{{- $port := trimPrefix $host . | trimPrefix ":" }}
{{- $name := $host | lower | trimSuffix "." }}
{{- if not $port }}{{ $name = trimPrefix "*." $name }}{{ end }}
{{- $literal := regexMatch `^\[[^\[\]]*:[^\[\]]*\]$` $host | ternary (trimPrefix "[" $host | trimSuffix "]") (contains ":" $host | ternary "" $host) }}
{{- $address := include "webhook-service.addressGroups" $literal | fromJsonArray }}
{{- $named := and (regexMatch `^[a-z0-9_-]{1,63}(\.[a-z0-9_-]{1,63})*$` $name) (not (regexMatch `^[0-9.]+$` $name)) }}
{{- if eq . "*" }}
egressAllow: "*" is not {{ $forms }}; what is public is open without it
{{- else if contains "/" . }}
{{- if not $network }}
egressAllow: {{ . | quote }} is not {{ $forms }}
{{- else if ne (splitList "/" $network | first) (include "webhook-service.addressText" (include "webhook-service.addressGroups" (splitList "/" . | first) | fromJsonArray)) }}
egressAllow: {{ . | quote }} has bits beyond its prefix: write {{ $network }}, or the address alone
{{- end }}
{{- else if $network }}
{{- else if not (or $address $named) }}
egressAllow: {{ . | quote }} is not {{ $forms }}
{{- else if and $port (or (lt (int $port) 1) (gt (int $port) 65535)) }}
egressAllow: the port of {{ . | quote }} is not from 1 to 65535
{{- end }}
{{- end }}
