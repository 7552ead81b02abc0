{{/* A list of {key, value} as matchLabels. */}}
{{- define "worldloom.matchLabels" -}}
{{- range . }}
{{ .key }}: {{ .value | quote }}
{{- end }}
{{- end -}}

{{/* Pods by their labels and their namespace's, as one entry of `from` or `to`. */}}
{{- define "worldloom.peer" -}}
- podSelector:
    matchLabels:
      {{- include "worldloom.matchLabels" .podLabels | trim | nindent 6 }}
  {{- with .namespaceLabels }}
  namespaceSelector:
    matchLabels:
      {{- include "worldloom.matchLabels" . | trim | nindent 6 }}
  {{- end }}
{{- end -}}

{{/* The pods of a part of this release, as one entry of `from` or `to`. */}}
{{- define "worldloom.partPeer" -}}
- podSelector:
    matchLabels:
      {{- include "worldloom.selector" . | nindent 6 }}
{{- end -}}

{{- define "worldloom.tcpPort" -}}
- protocol: TCP
  port: {{ . }}
{{- end -}}

{{/* Egress to the store: the chart's own pods, or the addresses that are named. */}}
{{- define "worldloom.storeEgress" -}}
{{- if eq .Values.store.kind "seaweedfs" -}}
- to:
    {{- include "worldloom.partPeer" (dict "root" . "part" "store") | nindent 4 }}
  ports:
    {{- include "worldloom.tcpPort" 8333 | nindent 4 }}
{{- else -}}
{{- if not .Values.networkPolicy.storeAddresses }}
{{- fail "networkPolicy.storeAddresses: expected the addresses of the external S3, since nothing else may be reached" }}
{{- end }}
{{- include "worldloom.addressEgress" .Values.networkPolicy.storeAddresses }}
{{- end -}}
{{- end -}}

{{- define "worldloom.addressEgress" -}}
{{- range $index, $address := . }}
{{- if $index }}
{{ end -}}
- to:
    - ipBlock:
        cidr: {{ $address.cidr }}
  ports:
    {{- include "worldloom.tcpPort" $address.port | nindent 4 }}
{{- end }}
{{- end -}}

{{/* Ingress of those who read metrics. */}}
{{- define "worldloom.scrapersIngress" -}}
{{- with .root.Values.monitoring.scrapers -}}
- from:
    {{- range . }}
    {{- include "worldloom.peer" . | nindent 4 }}
    {{- end }}
  ports:
    {{- include "worldloom.tcpPort" $.port | nindent 4 }}
{{- end -}}
{{- end -}}

{{/* Egress to pods that are named by their labels, on one port. */}}
{{- define "worldloom.peersEgress" -}}
- to:
    {{- range .peers }}
    {{- include "worldloom.peer" . | nindent 4 }}
    {{- end }}
  ports:
    {{- include "worldloom.tcpPort" .port | nindent 4 }}
{{- end -}}
