{{ config(materialized='table') }}
-- One row: the dates of the run, and every threshold in force on D, typed. Joined in, so that no model holds a literal.
with run_context as (
    select * from {{ source('run', 'run_context') }}
),

in_force as (
    select thresholds.*
    from {{ ref('thresholds') }} as thresholds
    inner join run_context on {{ is_in_force('thresholds', 'run_context.as_of_date') }}
),

versions as (
    select max_by(policy_versions.version, policy_versions.valid_from) as policy_version
    from {{ ref('policy_versions') }} as policy_versions
    inner join run_context on {{ is_in_force('policy_versions', 'run_context.as_of_date') }}
),

wide as (
    select
        {{ threshold('rfm_window_days', 'integer') }},
        {{ threshold('rfm_min_buyers', 'integer') }},
        {{ threshold('rfm_high_score_min', 'integer') }},
        {{ threshold('rfm_high_frequency_min_days', 'integer') }},
        {{ threshold('rfm_absolute_recency_1', 'double') }},
        {{ threshold('rfm_absolute_recency_2', 'double') }},
        {{ threshold('rfm_absolute_recency_3', 'double') }},
        {{ threshold('rfm_absolute_recency_4', 'double') }},
        {{ threshold('rfm_absolute_frequency_1', 'double') }},
        {{ threshold('rfm_absolute_frequency_2', 'double') }},
        {{ threshold('rfm_absolute_frequency_3', 'double') }},
        {{ threshold('rfm_absolute_frequency_4', 'double') }},
        {{ threshold('rfm_absolute_monetary_1', 'double') }},
        {{ threshold('rfm_absolute_monetary_2', 'double') }},
        {{ threshold('rfm_absolute_monetary_3', 'double') }},
        {{ threshold('rfm_absolute_monetary_4', 'double') }},
        {{ threshold('abc_window_days', 'integer') }},
        {{ threshold('abc_a_share', 'decimal(9, 6)') }},
        {{ threshold('abc_b_share', 'decimal(9, 6)') }},
        {{ threshold('abc_cumulative_a_share', 'decimal(9, 6)') }},
        {{ threshold('abc_cumulative_b_share', 'decimal(9, 6)') }},
        {{ threshold('lifecycle_new_min_days', 'integer') }},
        {{ threshold('lifecycle_decline_factor', 'double') }},
        {{ threshold('lifecycle_decline_min_days', 'integer') }},
        {{ threshold('lifecycle_decline_max_days', 'integer') }},
        {{ threshold('lifecycle_churn_factor', 'double') }},
        {{ threshold('lifecycle_churn_min_days', 'integer') }},
        {{ threshold('lifecycle_churn_max_days', 'integer') }},
        {{ threshold('lifecycle_shrink_weight', 'integer') }},
        {{ threshold('lifecycle_default_gap_days', 'integer') }},
        {{ threshold('lifecycle_half_window_days', 'integer') }},
        {{ threshold('lifecycle_year_window_days', 'integer') }},
        {{ threshold('lifecycle_decline_frequency_ratio', 'decimal(9, 6)') }},
        {{ threshold('lifecycle_decline_frequency_previous_min', 'integer') }},
        {{ threshold('lifecycle_decline_monetary_ratio', 'decimal(9, 6)') }},
        {{ threshold('lifecycle_mature_tenure_days', 'integer') }},
        {{ threshold('lifecycle_mature_frequency_min', 'integer') }},
        {{ threshold('lifecycle_mature_recent_frequency_min', 'integer') }},
        {{ threshold('lifecycle_reactivated_recency_days', 'integer') }},
        {{ threshold('value_growth_min', 'decimal(9, 6)') }},
        {{ threshold('class_dwell_days', 'integer') }},
        {{ threshold('class_share_min', 'decimal(9, 6)') }},
        {{ threshold('k_anon_min', 'integer') }},
        {{ threshold('low_n', 'integer') }},
        {{ threshold('adult_age', 'integer') }},
        {{ threshold('profiling_min_age', 'integer') }},
        {{ threshold('request_due_days', 'integer') }},
        {{ threshold('request_warn_days', 'integer') }},
        {{ threshold('nps_promoter_min', 'integer') }},
        {{ threshold('nps_detractor_max', 'integer') }},
        {{ threshold('csat_top_boxes', 'integer') }},
        {{ threshold('ces_top_boxes', 'integer') }},
        {{ threshold('survey_confidence_z', 'double') }},
        {{ threshold('survey_read_from_n', 'integer') }},
        {{ threshold('contact_fresh_days', 'integer') }},
        {{ threshold('identity_unresolved_share_max', 'decimal(9, 6)') }},
        {{ threshold('channel_window_days', 'integer') }},
        {{ threshold('session_engaged_seconds', 'integer') }},
        {{ threshold('session_engaged_pageviews', 'integer') }},
        {{ threshold('calendar_first_year', 'integer') }},
        {{ threshold('calendar_years_ahead', 'integer') }},
        {{ threshold('default_tax_rate', 'decimal(9, 6)') }},
        {{ threshold('orphan_line_share_max', 'decimal(9, 6)') }},
        {{ threshold('orphan_customer_share_max', 'decimal(9, 6)') }},
        {{ threshold('orphan_product_share_max', 'decimal(9, 6)') }},
        {{ threshold('orphan_rows_min', 'integer') }},
        {{ threshold('key_conflict_share_max', 'decimal(9, 6)') }},
        {{ threshold('key_conflict_rows_min', 'integer') }},
        {{ threshold('refund_excess_share_max', 'decimal(9, 6)') }},
        {{ threshold('off_scale_share_max', 'decimal(9, 6)') }},
        {{ threshold('doubtful_rows_min', 'integer') }},
        {{ threshold('revenue_gap_share_max', 'decimal(9, 6)') }},
        {{ threshold('control_sessions_share_max', 'decimal(9, 6)') }}
    from in_force
)

select
    run_context.as_of_date,
    run_context.refresh_date,
    run_context.reporting_currency,
    run_context.currency_digits,
    versions.policy_version,
    {{ window_starts('run_context.as_of_date', 'wide') }},
    {{ date_minus('run_context.refresh_date', 'wide.rfm_window_days') }} as rfm_window_start_at_refresh,
    {{ date_minus('run_context.as_of_date', 'wide.channel_window_days') }} as channel_window_start,
    wide.*
from run_context
cross join versions
cross join wide
