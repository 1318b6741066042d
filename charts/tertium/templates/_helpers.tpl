{{/* Prefix of every name: the release, with "tertium" in it. */}}
{{- define "tertium.name" -}}
{{- if contains "tertium" .Release.Name -}}
{{- .Release.Name | trunc 40 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-tertium" (.Release.Name | trunc 32 | trimSuffix "-") -}}
{{- end -}}
{{- end -}}

{{/* Labels that select the pods of a component. Takes (list $ "component"). */}}
{{- define "tertium.selector" -}}
app.kubernetes.io/name: tertium
app.kubernetes.io/instance: {{ (index . 0).Release.Name }}
app.kubernetes.io/component: {{ index . 1 }}
{{- end -}}

{{/* All labels of an object of a component. Takes (list $ "component"). */}}
{{- define "tertium.labels" -}}
{{ include "tertium.selector" . }}
app.kubernetes.io/version: {{ (index . 0).Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ (index . 0).Release.Service }}
helm.sh/chart: {{ printf "%s-%s" (index . 0).Chart.Name (index . 0).Chart.Version }}
{{- end -}}

{{/* Full name of one of our images. Takes (list $ "operator"). */}}
{{- define "tertium.image" -}}
{{- $image := index (index . 0).Values.images (index . 1) -}}
{{- printf "%s:%s" $image.repository ($image.tag | default (index . 0).Chart.AppVersion) -}}
{{- end -}}

{{/* What the restricted pod security standard asks of a pod. */}}
{{- define "tertium.podSecurityContext" -}}
runAsNonRoot: true
runAsUser: 65532
runAsGroup: 65532
fsGroup: 65532
seccompProfile: {type: RuntimeDefault}
{{- end -}}

{{/* What it asks of a container, and a root file system that cannot be written. */}}
{{- define "tertium.securityContext" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
{{- end -}}

{{/* Pod fields shared by both Deployments. */}}
{{- define "tertium.placement" -}}
{{- with .Values.imagePullSecrets }}
imagePullSecrets:
{{- range . }}
  - name: {{ . }}
{{- end }}
{{- end }}
{{- with .Values.nodeSelector }}
nodeSelector: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.tolerations }}
tolerations: {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{/* Where callers inside the cluster reach the OpenAI-compatible API. */}}
{{- define "tertium.gatewayUrl" -}}
{{- $tls := not (empty .Values.gateway.tls.secretName) -}}
{{- $port := int (include "tertium.gatewayPort" .) -}}
{{- ternary "https" "http" $tls }}://{{ include "tertium.name" . }}-gateway.{{ .Release.Namespace }}
{{- if ne $port (ternary 443 80 $tls) }}:{{ $port }}{{ end }}/v1
{{- end -}}

{{/* Port of the gateway's Service. */}}
{{- define "tertium.gatewayPort" -}}
{{- .Values.gateway.service.port | default (ternary 80 443 (empty .Values.gateway.tls.secretName)) -}}
{{- end -}}

{{/* Environment of every container of a gateway pod. */}}
{{- define "tertium.gatewayEnv" -}}
- name: TERTIUM_POD_NAME
  valueFrom: {fieldRef: {fieldPath: metadata.name}}
- name: TERTIUM_NAMESPACE
  valueFrom: {fieldRef: {fieldPath: metadata.namespace}}
- name: TERTIUM_GATEWAY_LABELS
  value: app.kubernetes.io/name=tertium,app.kubernetes.io/instance={{ .Release.Name }},app.kubernetes.io/component=gateway
- name: TERTIUM_AUTH_MODE
  value: {{ .Values.gateway.auth.mode | quote }}
- name: TERTIUM_ENVOY_DIR
  value: /etc/tertium/envoy
{{- if .Values.gateway.tls.secretName }}
- name: TERTIUM_TLS_DIR
  value: /etc/tertium/tls
{{- end }}
- name: TERTIUM_TRUSTED_HOPS
  value: {{ .Values.gateway.trustedHops | quote }}
- name: TERTIUM_DRAIN_SECONDS
  value: {{ .Values.gateway.drainSeconds | quote }}
- name: TERTIUM_MAX_PENDING
  value: {{ .Values.gateway.hold.maxPending | quote }}
- name: TERTIUM_MAX_PENDING_MEBIBYTES
  value: {{ .Values.gateway.hold.maxPendingMebibytes | quote }}
- name: TERTIUM_MAX_KEPT_MEBIBYTES
  value: {{ .Values.gateway.hold.maxKeptMebibytes | quote }}
- name: TERTIUM_LOG_LEVEL
  value: {{ .Values.logLevel }}
{{- end -}}
